"""Tests of descriptions of models."""

import json

import keras
import pytest

import keras_vq
from keras_vq.models import describe

pytestmark = pytest.mark.backend_free


def networks(size=8, **options):
    return keras_vq.networks.latent_diffusion(
        (size, size, 3), (4, 8), 2, blocks=1, groups=2, **options
    )


def vqvae(quantizer, **options):
    pair = networks(**options)
    return keras_vq.VQVAE(pair.encoder, quantizer, pair.decoder, provenance={"family": "x"})


def scales():
    return keras_vq.MultiScaleQuantizer(keras_vq.VectorQuantizer(16), [1, 2, 4], num_phi=0)


def stages():
    return keras_vq.ResidualQuantizer([keras_vq.VectorQuantizer(size) for size in (16, 4)])


def hierarchical():
    parts = keras_vq.networks.hierarchical((8, 8, 1), filters=(8,), latent_dim=4)
    quantizers = [keras_vq.VectorQuantizer(size) for size in (16, 32)]
    return keras_vq.VQVAE2(*parts, *quantizers)


CASES = {
    "one code": (
        lambda: vqvae(keras_vq.VectorQuantizer(64)),
        {"class": "VQVAE", "code_shape": [4, 4], "codes_per_input": 16, "bits_per_input": 96},
    ),
    "stages": (
        lambda: vqvae(stages()),
        {"code_shape": [4, 4, 2], "codebook_sizes": [16, 4], "bits_per_input": 16 * 6},
    ),
    "scales": (lambda: vqvae(scales()), {"code_shape": [21], "bits_per_input": 21 * 4}),
    "any size": (
        lambda: vqvae(keras_vq.VectorQuantizer(64), size=None),
        {"input_shape": [None, None, 3], "codes_per_input": None, "bits_per_input": None},
    ),
    "hierarchical": (
        hierarchical,
        {
            "code_shape": [[2, 2], [4, 4]],
            "codebook_sizes": [[16], [32]],
            "codes_per_input": 20,
            "bits_per_input": 4 * 4 + 16 * 5,
        },
    ),
    "without codes": (
        lambda: keras_vq.VAE(*networks(double_z=True), latent_dim=2, trainable_parts="decoder"),
        {"class": "VAE", "latent_shape": [4, 4, 2], "trainable_parts": "decoder"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_descriptions(name):
    build, expected = CASES[name]
    model = build()
    about = describe(model)
    assert {key: about[key] for key in expected} == expected
    assert about["parameters"] == model.count_params() > 0
    assert about["provenance"] == model.provenance
    assert json.loads(json.dumps(about)) == about


def test_numbers_for_a_size_of_a_model_of_any_size():
    model = vqvae(stages(), size=None)
    about = describe(model, (32, 16, 3))
    assert about["input_shape"] == [None, None, 3]
    assert (about["code_shape"], about["bits_per_input"]) == ([16, 8, 2], 16 * 8 * 6)
    for shape in ((32, 16, 1), (32, 16)):
        with pytest.raises(ValueError, match="the shape of an input of the model"):
            describe(model, shape)
    with pytest.raises(ValueError, match=r"the model, \(8, 8, 3\)"):
        describe(vqvae(stages()), (16, 16, 3))


def test_an_unbuilt_model():
    model = keras_vq.Autoencoder(keras.layers.Dense(2), keras.layers.Dense(4))
    with pytest.raises(ValueError, match="`model` must be built"):
        describe(model)
