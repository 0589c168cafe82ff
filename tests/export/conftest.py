"""Fixture of models to export, shared by all tests."""

import pytest

from tests.export.models import MODELS


@pytest.fixture(scope="session")
def model():
    """Returns a function from the name of a model to a cached model."""
    made = {}

    def of_name(name="vqvae"):
        if name not in made:
            made[name] = MODELS[name]()
        return made[name]

    return of_name
