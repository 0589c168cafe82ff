"""Models to export, made once."""

import pytest

from tests.export.models import MODELS


@pytest.fixture(scope="session")
def model():
    """A function that gives the model of a name, made once."""
    made = {}

    def of_name(name="vqvae"):
        if name not in made:
            made[name] = MODELS[name]()
        return made[name]

    return of_name
