"""Runs all checks on all models."""

import pytest

from tests.models.checks import MODEL_CHECKS, check_interrupted_fit_resumes_as_if_never_interrupted


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
def test_model(fitted, check):
    check(fitted)


def test_interrupted_fit_resumes(fitted, tmp_path):
    check_interrupted_fit_resumes_as_if_never_interrupted(fitted, tmp_path)
