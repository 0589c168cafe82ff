"""Models to export, made once."""

import pytest


@pytest.fixture(scope="session")
def model():
    """A function that gives the model of a name, made once."""
    from tests.export.models import MODELS  # not above: it needs packages

    made = {}

    def of_name(name="vqvae"):
        if name not in made:
            made[name] = MODELS[name]()
        return made[name]

    return of_name
