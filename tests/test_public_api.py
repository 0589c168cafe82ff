"""Tests of the public API: docstring examples that run, and rows in the case tables."""

import inspect

import pytest

import keras_vq
from keras_vq import (
    callbacks,
    codebooks,
    codec,
    data,
    estimators,
    layers,
    losses,
    metrics,
    models,
    networks,
    priors,
    quantizers,
    regularizers,
)
from tests.models.cases import MODEL_CASES
from tests.quantizers.cases import QUANTIZER_CASES

pytestmark = pytest.mark.backend_free

ROOMS = (
    callbacks,
    codebooks,
    codec,
    data,
    estimators,
    layers,
    losses,
    metrics,
    models,
    networks,
    priors,
    quantizers,
    regularizers,
)
ABSTRACT = (
    codebooks.Codebook,
    codebooks.RestartRule,
    estimators.Estimator,
    quantizers.Quantizer,
    models.CodeModel,
    models.ReconstructionModel,
    priors.CodePrior,
)
PUBLIC = {f"{room.__name__}.{name}": getattr(room, name) for room in ROOMS for name in room.__all__}


def is_abstract_or_error(thing):
    return thing in ABSTRACT or (inspect.isclass(thing) and issubclass(thing, Exception))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_docstring_has_an_example_that_runs(name):
    thing = PUBLIC[name]
    assert thing.__doc__, name
    # Doctests run the examples; `load_model`, which needs a file, has tests instead.
    if not is_abstract_or_error(thing) and thing is not models.load_model:
        assert ">>>" in thing.__doc__, f"{name} needs an example"


def test_top_level_names_are_those_of_the_rooms():
    for name in keras_vq.__all__:
        thing = getattr(keras_vq, name)
        if not inspect.ismodule(thing):
            assert thing in PUBLIC.values(), name


@pytest.mark.parametrize(
    "name",
    [
        "callbacks.CollapseWarning",
        "data.ImageBatches",
        "estimators.Estimator",
        "models.CodeModel",
        "models.NonFiniteWeightsWarning",
        "models.ReconstructionModel",
        "priors.CodePrior",
        "priors.HierarchicalPrior",
    ],
)
def test_names_that_users_catch_pass_on_or_subclass_are_public(name):
    room, thing = name.split(".")
    assert thing in getattr(keras_vq, room).__all__
    assert hasattr(getattr(keras_vq, room), thing)


def test_every_model_has_a_case():
    built = {type(case.build()) for case in MODEL_CASES}
    concrete = {getattr(models, name) for name in models.__all__}
    concrete = {
        thing
        for thing in concrete
        if inspect.isclass(thing)
        and issubclass(thing, models.ReconstructionModel)
        and not is_abstract_or_error(thing)
    }
    assert built == concrete


def test_every_quantizer_and_codebook_has_a_case():
    built = [case.build() for case in QUANTIZER_CASES]
    kinds = {type(quantizer) for quantizer in built}
    assert kinds == {getattr(quantizers, name) for name in quantizers.__all__} - set(ABSTRACT)
    used = [quantizer.codebook for quantizer in built if hasattr(quantizer, "codebook")]
    kinds = {type(codebook) for codebook in used}
    kinds |= {type(codebook.restart) for codebook in used if codebook.restart is not None}
    assert kinds == {getattr(codebooks, name) for name in codebooks.__all__} - set(ABSTRACT)
