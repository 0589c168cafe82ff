"""Fitted models shared by read-only tests, because compilation takes seconds."""

import pytest

from tests.models.cases import MODEL_CASES
from tests.models.checks import fit_case


@pytest.fixture(scope="session")
def images(digits):
    return digits[:256]


@pytest.fixture(scope="session")
def held_out(digits):
    # 96, so that the last batch of 64 is partial and batches have unequal weights.
    return digits[256:352]


@pytest.fixture(scope="session", params=MODEL_CASES, ids=lambda case: case.id)
def fitted(request, images, held_out, tmp_path_factory):
    case = request.param
    parts = (part.reshape(-1, *case.input_shape) for part in (images, held_out))
    return fit_case(case, *parts, tmp_path_factory.mktemp(case.id))
