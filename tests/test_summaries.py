"""Tests of Keras utilities on all layers and models: summary, plot, configuration, clone."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_vq import layers, networks, quantizers
from tests.models.cases import IMAGE_SHAPE, MODEL_CASES
from tests.priors.cases import PRIOR_CASES
from tests.quantizers.cases import QUANTIZER_CASES

GRID = (6, 6, 4)
# Layer, and its input shapes without the batch axis.
LAYERS = {
    "CodeEmbedding": (lambda: layers.CodeEmbedding((8, 4), dim=4), [(5, 2)]),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(3, 4, strides=2, padding="same"), [GRID]),
    "ConvolutionPadding1D": (lambda: layers.ConvolutionPadding1D(4, 2), [(6, 4)]),
    "EdgePadding": (lambda: layers.EdgePadding(((1, 2), (0, 1))), [GRID]),
    "EndMasking": (layers.EndMasking, [(6, 4)]),
    "GatedMaskedConvolution": (lambda: layers.GatedMaskedConvolution(4), [GRID, GRID]),
    "GaussianSampling": (lambda: layers.GaussianSampling(seed=0), [(4,), (4,)]),
    "GridPositions": (lambda: layers.GridPositions((2, 3), dim=4), [(6, 4)]),
    "ImplicitNeuralCodebook": (lambda: layers.ImplicitNeuralCodebook(hidden_dim=5), [(8,)]),
    "LoudnessNormalization": (layers.LoudnessNormalization, [(6, 4)]),
    "LogScale": (layers.LogScale, [GRID]),
    "PatchSteps": (lambda: layers.PatchSteps(2), [(3, 4)]),
    "PostActivationBlock": (layers.PostActivationBlock, [GRID]),
    "ResNetBlock2D": (lambda: layers.ResNetBlock2D(6, groups=2), [GRID]),
    "ResidualStack": (lambda: layers.ResidualStack(blocks=1, filters=3), [GRID]),
    "SelfAttention2D": (lambda: layers.SelfAttention2D(groups=2), [GRID]),
    "SequencePatches": (lambda: layers.SequencePatches(2), [(6, 4)]),
    "Snake": (layers.Snake, [(6, 4)]),
    "StraightThroughClip": (layers.StraightThroughClip, [(4,)]),
    "TransformerBlock": (lambda: layers.TransformerBlock(num_heads=2), [(6, 4)]),
}
for case in QUANTIZER_CASES:
    LAYERS[f"{case.id} quantizer"] = (case.build, [(5, 5, 4)])

MODELS = {case.id: case.build for case in MODEL_CASES}
MODELS.update({f"{case.id} prior": case.prior for case in PRIOR_CASES})
for network in (networks.dense, networks.convolutional, networks.residual_convolutional):
    MODELS[f"{network.__name__} encoder"] = lambda network=network: network(IMAGE_SHAPE)[0]
    MODELS[f"{network.__name__} decoder"] = lambda network=network: network(IMAGE_SHAPE)[1]
MODELS["patch_discriminator"] = lambda: networks.patch_discriminator(IMAGE_SHAPE, filters=(4,))


class Wrapped(keras.Model):
    """Subclassed model around one layer, whose summary reports the output shape."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(*inputs)


def summary_of(model):
    lines = []
    model.summary(print_fn=lambda line, **_: lines.append(line), expand_nested=True)
    return "\n".join(lines)


def check_plot(model):
    """Plots the model if pydot and Graphviz are installed."""
    try:
        import pydot

        pydot.Dot.create(pydot.Dot())
    except (ImportError, OSError):
        return
    keras.utils.model_to_dot(model, show_shapes=True, show_dtype=True, expand_nested=True)


def check_configuration(thing):
    """Checks that the configuration is JSON and restores an equal object."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(thing)))
    copy = keras.saving.deserialize_keras_object(config)
    again = json.loads(json.dumps(keras.saving.serialize_keras_object(copy)))
    assert again["config"] == config["config"]


@pytest.mark.backend_free
def test_every_layer_and_quantizer_has_a_row():
    kinds = {type(build()) for build, _ in LAYERS.values()}
    public = [getattr(room, name) for room in (layers, quantizers) for name in room.__all__]
    assert kinds == set(public) - {quantizers.Quantizer}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_in_functional_and_hand_written_models(name):
    build, shapes = LAYERS[name]
    layer = build()
    dtype = "int32" if name == "CodeEmbedding" else "float32"
    inputs = [keras.Input(shape, dtype=dtype) for shape in shapes]
    model = keras.Model(inputs, layer(*inputs))
    assert f"{model.count_params():,}" in summary_of(model)
    check_plot(model)
    clone = keras.models.clone_model(model)
    assert clone.count_params() == model.count_params()
    check_configuration(layer)

    hand_written = Wrapped(build())
    arrays = [np.zeros((2, *shape), dtype) for shape in shapes]
    first = keras.tree.flatten(hand_written(arrays))[0]  # the table may wrap the second one
    assert str(tuple(ops.shape(first))) in summary_of(hand_written)


@pytest.mark.backend_free
@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    model = MODELS[name]()
    assert f"{model.count_params():,}" in summary_of(model)
    check_plot(model)
    check_configuration(model)
    assert keras.models.model_from_json(model.to_json()).count_params() == model.count_params()
    assert keras.models.clone_model(model).count_params() == model.count_params()
