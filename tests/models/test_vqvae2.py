"""Tests of VQVAE2: inputs of each scale, codes, and generation with priors."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq.models import HierarchicalCodes
from tests.models.checks import assert_same, weights_of

SHAPE = (8, 16, 1)


def build(top=None, bottom=None, **replaced):
    networks = keras_vq.networks.hierarchical(
        SHAPE, filters=(8,), latent_dim=4, residual_blocks=1, residual_filters=4
    )
    return keras_vq.VQVAE2(
        **{**networks._asdict(), **replaced},
        top_quantizer=top or keras_vq.VectorQuantizer(8),
        bottom_quantizer=bottom or keras_vq.VectorQuantizer(16),
    )


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).random((20, *SHAPE), "float32")


@pytest.fixture(scope="module")
def model(inputs):
    """Returns a model with two codes per vector at the bottom scale and initialized codebooks."""
    keras.utils.set_random_seed(0)
    bottom = keras_vq.ResidualQuantizer(
        [keras_vq.VectorQuantizer(16), keras_vq.VectorQuantizer(32)]
    )
    model = build(bottom=bottom)
    model.adapt(inputs, start="first")
    return model


def test_codes_decode_to_the_reconstructions(model, inputs):
    codes = model.encode(inputs)
    assert isinstance(codes, HierarchicalCodes)
    assert model.code_shape == ((2, 4), (4, 8, 2))
    assert model.codebook_sizes == ((8,), (16, 32))
    for part, shape, sizes in zip(codes, model.code_shape, model.codebook_sizes, strict=True):
        assert part.shape == (20, *shape)
        assert part.dtype == "int32"
        assert part.min() >= 0
        assert (part.reshape(-1, len(sizes)) < sizes).all()
        assert len(np.unique(part)) > 3
    reconstructed = model.reconstruct(inputs)
    np.testing.assert_array_equal(model.decode(codes), reconstructed)
    as_lists = (codes.top.tolist(), codes.bottom.astype("int64"))
    np.testing.assert_array_equal(model.decode(as_lists), reconstructed)
    predicted = model.predict(inputs, verbose=0)["codes"]
    np.testing.assert_array_equal(predicted.top, codes.top)
    np.testing.assert_array_equal(predicted.bottom, codes.bottom)


def test_each_level_sees_what_the_paper_gives_it(model, inputs):
    features = model.bottom_encoder(inputs)
    top, codes_top = model.top_quantizer(model.top_encoder(features))
    decoded = model.top_decoder(top)
    bottom, codes_bottom = model.bottom_quantizer(
        model.bottom_head(ops.concatenate([features, decoded], axis=-1))
    )
    repeated = ops.convert_to_numpy(top).repeat(2, axis=1).repeat(2, axis=2)
    side_by_side = np.concatenate([repeated, ops.convert_to_numpy(bottom)], axis=-1)
    codes = model.encode(inputs)
    np.testing.assert_array_equal(codes.top, ops.convert_to_numpy(codes_top))
    np.testing.assert_array_equal(codes.bottom, ops.convert_to_numpy(codes_bottom))
    np.testing.assert_allclose(model.encode_quantized(inputs), side_by_side, atol=1e-6)
    expected = ops.convert_to_numpy(model.decoder(side_by_side))
    np.testing.assert_allclose(model.reconstruct(inputs), expected, atol=1e-6)


def test_both_levels_reach_the_image(model, inputs):
    codes = model.encode(inputs)
    whole = model.decode(codes)
    for level in ("top", "bottom"):
        other = (getattr(codes, level) + 1) % 8
        changed = model.decode(codes._replace(**{level: other}))
        assert np.abs(changed - whole).max() > 1e-4, level


def test_code_of_minus_one_is_a_zero_latent(model, inputs):
    codes = model.encode(inputs)
    latents = model.encode_quantized(inputs)
    latents[..., :4] = 0
    masked = codes._replace(top=np.full_like(codes.top, -1))
    np.testing.assert_allclose(model.decode(masked), model.decode_quantized(latents), atol=1e-6)


def test_every_part_learns(inputs):
    model = build(keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(8)))
    model.compile(keras.optimizers.Adam(1e-2))
    before = {name: weights_of(getattr(model, name)) for name in model._part_names}
    model.fit(inputs, batch_size=10, verbose=0)
    for name in model._part_names:
        pairs = zip(before[name], weights_of(getattr(model, name)), strict=True)
        assert any((old != new).any() for old, new in pairs), name


def test_adapt_places_the_bottom_codes_for_the_new_top(inputs):
    model = build()
    model.adapt(inputs, start="first")
    codes = ops.convert_to_numpy(model.top_quantizer.codebook.code_vectors())
    latents = model._in_batches(model._top_latents, inputs, 128, "inputs")
    np.testing.assert_allclose(codes, latents.reshape(-1, 4)[:8], atol=1e-6)
    codes = ops.convert_to_numpy(model.bottom_quantizer.codebook.code_vectors())
    latents = model._in_batches(model._bottom_latents, inputs, 128, "inputs")
    np.testing.assert_allclose(codes, latents.reshape(-1, 4)[:16], atol=1e-6)


def test_signatures_have_codes_as_one_vector(model, inputs):
    encode, decode, _ = model.signatures()
    assert encode.output == decode.input == ("codes", "int32", (8 + 64,), (0, 31))
    vectors = model._in_batches(encode.method, inputs, 128)
    codes = model.encode(inputs)
    expected = np.concatenate([part.reshape(20, -1) for part in codes], axis=1)
    np.testing.assert_array_equal(vectors, expected)


class Prior:
    """Prior that draws codes uniformly and stores its arguments."""

    def __init__(self, shape, size):
        self.shape, self.size = shape, size

    def generate(self, n, **asked):
        self.asked = asked
        rng = np.random.default_rng(asked["seed"])
        return rng.integers(0, self.size, (n, *self.shape), dtype="int32")


def test_generate(model):
    assert (model.codebook_sizes.top, model.code_shape.top) == ((8,), (2, 4))
    prior = keras_vq.priors.HierarchicalPrior.for_model(
        model,
        keras_vq.priors.TransformerPrior,
        keras_vq.priors.PixelCNNPrior,
        hidden_dim=4,
        num_layers=1,
    )
    assert prior.top.grid_shape == (2, 4)
    assert prior.bottom.condition_shape == prior.top.grid_shape
    images = model.generate(3, prior, seed=4, temperature=0.5)
    codes = prior.generate(3, seed=4, temperature=0.5)
    np.testing.assert_array_equal(images, model.decode(codes))
    with pytest.raises(ValueError, match=r"must have a method `generate.*Received"):
        model.generate(3, (prior.top, prior.bottom))


def test_generate_of_one_level():
    encoder, decoder = keras_vq.networks.convolutional(SHAPE, filters=(4,), latent_dim=2)
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(8), decoder)
    assert model.code_shape == (4, 8)
    assert model.codebook_sizes == (8,)
    prior = Prior(model.code_shape, 8)
    images = model.generate(3, prior, labels=[1, 2, 3], seed=4, top_k=5)
    assert prior.asked == {"labels": [1, 2, 3], "seed": 4, "top_k": 5}
    np.testing.assert_array_equal(images, model.decode(prior.generate(3, seed=4)))
    with pytest.raises(ValueError, match="`n` must be a positive integer"):
        model.generate(0, prior)


def test_bad_codes(model, inputs):
    top, bottom = model.encode(inputs)
    for codes, text in [
        (top, "must be a pair of arrays .*Received: ndarray"),
        ((top, bottom, top), "must be a pair of arrays"),
        ((bottom, top), r"`codes.top` must (be integers from 0 to 7|have the shape)"),
        ((top + 8, bottom), r"`codes.top` must be integers from 0 to 7 \(or -1\)"),
        ((top, bottom.astype("float32")), "`codes.bottom` must be integers from 0 to 15 or 31"),
        ((top[:, :1], bottom), r"`codes.top` must have the shape \(n, 2, 4\)"),
        ((top[:3], bottom), "must have the same number of .*Received: 3 and 20"),
    ]:
        with pytest.raises(ValueError, match=text):
            model.decode(codes)


def test_bad_parts():
    identity = keras.layers.Identity()
    wide = keras.Sequential([keras.layers.Conv2D(4, 1, strides=(1, 3), padding="same")])
    for arguments, text in [
        ({"bottom_encoder": 3}, "`bottom_encoder` must be a Keras layer or model. Received: 3"),
        ({"top_decoder": None}, "`top_decoder` must be a Keras layer or model"),
        ({"bottom": identity}, "`bottom_quantizer` must be a keras_vq Quantizer"),
        ({"top_decoder": identity}, r"`top_decoder` must have.*\(4, 8\). Received: \(2, 4\)"),
        (
            {"bottom_head": wide},
            r"multiples of those of the top scale. Received: bottom \(4, 3, 4\)",
        ),
        (
            {"bottom_encoder": keras.Sequential([keras.Input((None, None, 1)), identity])},
            r"must be known.*Received: shape \(None, None, None, 1\)",
        ),
    ]:
        with pytest.raises(ValueError, match=text):
            build(**arguments)


def test_frozen_top_stays(inputs):
    model = build()
    model.top_quantizer.trainable = False
    model.compile("adam")
    before = weights_of(model.top_quantizer)
    model.fit(inputs, batch_size=10, verbose=0)
    assert_same(weights_of(model.top_quantizer), before)
