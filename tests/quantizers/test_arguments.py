"""Tests that each constructor argument is in the configuration and has an effect."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq.estimators import Synchronized
from tests.quantizers.cases import QUANTIZER_CASES

BY_CLASS = {type(case.build()): case for case in QUANTIZER_CASES}
CODEBOOKS = {
    type(codebook): codebook
    for codebook in (getattr(case.build(), "codebook", None) for case in QUANTIZER_CASES)
    if codebook is not None
}
CONFIGURED = {
    **{kind.__name__: (lambda case=case: case.build()) for kind, case in BY_CLASS.items()},
    **{kind.__name__: (lambda book=book: book) for kind, book in CODEBOOKS.items()},
}

WITHOUT_ESTIMATOR = (
    keras_vq.GumbelSoftmaxQuantizer,
    keras_vq.IndexBackpropagationQuantizer,
    keras_vq.ProductQuantizer,
    keras_vq.ProjectedQuantizer,
    keras_vq.RandomProjectionQuantizer,
)


def with_argument(layer, **changed):
    """Returns a layer with the same configuration except for given arguments."""
    return type(layer).from_config({**layer.get_config(), **changed})


def arguments_of_bases(layer):
    """Returns the constructor arguments of the class and its bases within keras_vq."""
    kinds = [kind for kind in type(layer).__mro__ if kind.__module__.startswith("keras_vq")]
    constructors = [vars(kind)["__init__"] for kind in kinds if "__init__" in vars(kind)]
    names = {name for init in constructors for name in inspect.signature(init).parameters}
    return names - {"self", "kwargs"}


@pytest.mark.backend_free
@pytest.mark.parametrize("name", CONFIGURED)
def test_every_accepted_argument_is_in_the_configuration(name):
    layer = CONFIGURED[name]()
    config = layer.get_config()
    for argument in arguments_of_bases(layer) - set(config):
        value = 3 if argument == "seed" else keras_vq.DeadCodeRestart()
        value = "rotation_trick" if argument == "estimator" else value
        value = False if argument == "return_codes" else value
        try:
            changed = with_argument(layer, **{argument: keras.saving.serialize_keras_object(value)})
        except (TypeError, ValueError) as error:
            assert argument in str(error)  # noqa: PT017
        else:
            assert argument in changed.get_config()
    with pytest.raises((TypeError, ValueError), match="no_such_argument"):
        with_argument(layer, no_such_argument=1)


@pytest.mark.backend_free
@pytest.mark.parametrize("name", CONFIGURED)
def test_a_changed_argument_is_in_the_configuration_or_refused(name):
    layer = CONFIGURED[name]()
    for argument, value in layer.get_config().items():
        if isinstance(value, bool):
            other = not value
        elif isinstance(value, (int, float)):
            other = type(value)(0.5 * value + 1)
        elif argument == "seed" and value is None:
            other = 12
        else:
            continue
        try:
            changed = with_argument(layer, **{argument: other})
        except ValueError as error:
            assert argument in str(error)  # noqa: PT017
        else:
            assert changed.get_config()[argument] == other, argument


@pytest.mark.backend_free
@pytest.mark.parametrize("kind", BY_CLASS, ids=lambda kind: kind.__name__)
def test_estimator_is_used_or_refused(kind):
    quantizer = BY_CLASS[kind].build()
    estimator = keras.saving.serialize_keras_object(Synchronized(0.5))
    if kind in WITHOUT_ESTIMATOR:
        assert "estimator" not in quantizer.get_config()
        with pytest.raises(TypeError, match="has no argument `estimator`"):
            with_argument(quantizer, estimator=estimator)
    else:
        assert with_argument(quantizer, estimator=estimator).estimator.nu == 0.5


@keras.saving.register_keras_serializable("tests")
def doubled(inputs, codes, training):
    del inputs, training
    return 2.0 * codes


@pytest.mark.parametrize(
    "case",
    [case for case in QUANTIZER_CASES if type(case.build()) not in WITHOUT_ESTIMATOR],
    ids=lambda case: case.id,
)
def test_estimator_makes_the_quantized_vectors(case, rng):
    """An estimator that doubles code vectors doubles the quantized vectors."""
    estimator = keras.saving.serialize_keras_object(doubled)
    quantizer = with_argument(case.build(), estimator=estimator)
    # The shape of the contract's tests, for which operations are compiled.
    vectors = rng.normal(size=(3, 5, 5, 4)).astype("float32")
    quantized, indices = quantizer(vectors)
    twice = 2.0 * ops.convert_to_numpy(quantizer.decode(indices))
    np.testing.assert_allclose(ops.convert_to_numpy(quantized), twice, rtol=1e-6, atol=1e-6)


@pytest.mark.backend_free
def test_multi_scale_refuses_an_estimator_that_it_would_ignore():
    inner = keras_vq.VectorQuantizer(16, estimator="rotation_trick")
    with pytest.raises(ValueError, match="Pass `estimator` to MultiScale"):
        keras_vq.MultiScaleQuantizer(inner, scales=[1, 2])


def built_dense(units, dim, **options):
    layer = keras.layers.Dense(units, **options)
    layer.build((None, dim))
    return layer


class HandWritten(keras.layers.Layer):
    """Layer without `build`, which creates weights in the first call."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(units)

    def call(self, inputs):
        return self.inner(inputs)


def sequential(units, dim):
    return keras.Sequential([keras.Input((dim,)), keras.layers.Dense(units)])


LAYERS = {
    "built": built_dense,
    "sequential": sequential,
    "hand_written": lambda units, dim: HandWritten(units),
    "not_built": lambda units, dim: keras.layers.Dense(units),
}
PLACES = {
    "project_in": lambda layer: keras_vq.ProjectedQuantizer(
        keras_vq.VectorQuantizer(8), layer(2, 4)
    ),
    "project_out": lambda layer: keras_vq.ProjectedQuantizer(
        keras_vq.VectorQuantizer(8), 2, layer(4, 2)
    ),
    "network": lambda layer: keras_vq.ImplicitNeuralQuantizer(8, layer(4, 8)),
    "projection": lambda layer: keras_vq.VectorQuantizer(
        codebook=keras_vq.ProjectedCodebook(8, layer(4, 4))
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("place", PLACES)
def test_a_layer_with_weights_keeps_them(kind, place, rng, tmp_path):
    given = []

    def layer(units, dim):
        given.append(LAYERS[kind](units, dim))
        return given[0]

    quantizer = PLACES[place](layer)
    before = [ops.convert_to_numpy(weight).copy() for weight in given[0].weights]
    vectors = rng.normal(size=(5, 4)).astype("float32")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, quantizer(inputs))
    expected = model.predict(vectors, verbose=0)
    for old, new in zip(before, given[0].weights[: len(before)], strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(new))
    assert len(given[0].weights) == 2

    if kind == "hand_written":
        return  # Keras can't load a layer without `build`
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(expected, copy.predict(vectors, verbose=0), strict=True):
        np.testing.assert_array_equal(ours, theirs)
