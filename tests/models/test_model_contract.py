"""Runs the checks on all models that they suit."""

import pytest

from tests.models.checks import (
    INFERENCE_CHECKS,
    MODEL_CHECKS,
    check_interrupted_fit_resumes_as_if_never_interrupted,
    check_saved_model_goes_on_as_if_never_saved,
)


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
def test_model(fitted, check):
    check(fitted)


@pytest.mark.parametrize("check", INFERENCE_CHECKS, ids=lambda check: check.__name__)
def test_inference(fitted, check):
    if not fitted.case.infers:
        pytest.skip("infers as another case")
    check(fitted)


def test_saved_model_goes_on(fitted):
    if not fitted.case.has_own_state:
        pytest.skip("no state of its own kind")
    check_saved_model_goes_on_as_if_never_saved(fitted)


def test_interrupted_fit_resumes(fitted, tmp_path):
    if not fitted.case.has_own_state:
        pytest.skip("no state of its own kind")
    check_interrupted_fit_resumes_as_if_never_interrupted(fitted, tmp_path)
