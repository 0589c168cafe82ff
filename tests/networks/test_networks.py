"""Tests of network builders: shapes, parameters and value ranges."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_vq
from keras_vq import networks

SHAPES = [(8, 8, 1), (12, 20, 3), (4, 16, 2)]


def run(pair, shape):
    images = np.random.default_rng(0).random((2, *shape), "float32")
    latents = pair.encoder(images)
    return tuple(latents.shape), ops.convert_to_numpy(pair.decoder(latents))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("latent_dim", [5, None])
@pytest.mark.parametrize("build", [networks.convolutional, networks.residual_convolutional])
def test_maps(build, latent_dim, shape):
    pair = build(shape, filters=(6, 7), latent_dim=latent_dim)
    latents, images = run(pair, shape)
    assert latents == (2, shape[0] // 4, shape[1] // 4, latent_dim or 7)
    assert pair.encoder.output_shape[1:] == latents[1:]
    assert pair.decoder.built  # also without latent_dim
    assert pair.decoder.input_shape[1:] == latents[1:]
    assert images.shape == (2, *shape)
    assert images.dtype == "float32"
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("shape", [*SHAPES, (7, 5, 3)], ids=str)
def test_dense(shape):
    latents, images = run(networks.dense(shape, units=(9, 6), latent_dim=5), shape)
    assert latents == (2, 5)
    assert images.shape == (2, *shape)
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("latent_dim", [5, None])
def test_flat_latent(latent_dim):
    maps = networks.convolutional((12, 20, 3), filters=(6, 7), latent_dim=None)
    pair = networks.flat_latent(maps, latent_dim)
    latents, images = run(pair, (12, 20, 3))
    assert latents == (2, latent_dim or 3 * 5 * 7)
    assert images.shape == (2, 12, 20, 3)
    # The same layers, not copies.
    assert pair.encoder.layers[0] is maps.encoder.layers[0]


def test_flat_latent_in_a_vae(digits):
    maps = networks.convolutional(
        (8, 8, 1), filters=(6,), latent_dim=None, output_activation="sigmoid"
    )
    model = keras_vq.VAE(*networks.flat_latent(maps, None), latent_dim=3)
    assert model.encode(digits[:4]).shape == (4, 3)
    assert model.generate(2, seed=0).shape == (2, 8, 8, 1)


def test_parameters_of_the_network_of_the_sonnet_notebook():
    encoder, decoder = networks.residual_convolutional((32, 32, 3))
    assert encoder.output_shape == (None, 8, 8, 64)
    blocks = 2 * ((9 * 128 * 32 + 32) + (32 * 128 + 128))
    assert encoder.count_params() == (
        (16 * 3 * 64 + 64)
        + (16 * 64 * 128 + 128)
        + (9 * 128 * 128 + 128)
        + blocks
        + (128 * 64 + 64)
    )
    assert decoder.count_params() == (
        (9 * 64 * 128 + 128) + blocks + (16 * 128 * 64 + 64) + (16 * 64 * 3 + 3)
    )
    # The count published for the CIFAR-10 notebook of Sonnet includes 512 code vectors of dimension
    # 64 and the moving averages of their sums and counts.
    quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(512))
    quantizer.build((None, 8, 8, 64))
    parts = (encoder, quantizer, decoder)
    assert sum(part.count_params() for part in parts) == 728_771


def test_parameters_of_the_network_of_keras_io():
    encoder, decoder = networks.convolutional((28, 28, 1), filters=(32, 64), latent_dim=16)
    # 3x3 kernels and biases of each layer.
    assert encoder.count_params() == (9 * 1 * 32 + 32) + (9 * 32 * 64 + 64) + (64 * 16 + 16)
    assert decoder.count_params() == (9 * 16 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 * 1 + 1)
    assert encoder.output_shape == (None, 7, 7, 16)
    model = keras_vq.VQVAE(
        encoder, keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(128)), decoder
    )
    codebook = [weight for weight in model.trainable_weights if "embeddings" in weight.path]
    assert [tuple(weight.shape) for weight in codebook] == [(128, 16)]


def test_parameters_of_dense():
    encoder, decoder = networks.dense((8, 8, 1), units=(32, 16), latent_dim=4)
    assert encoder.count_params() == (64 * 32 + 32) + (32 * 16 + 16) + (16 * 4 + 4)
    assert decoder.count_params() == (4 * 16 + 16) + (16 * 32 + 32) + (32 * 64 + 64)


@pytest.mark.parametrize(
    "build", [networks.convolutional, networks.residual_convolutional, networks.dense]
)
def test_pixels_are_float32_in_half_precision(build):
    keras.config.set_dtype_policy("mixed_float16")
    pair = build((8, 8, 1), latent_dim=4)
    images = np.random.default_rng(0).random((2, 8, 8, 1), "float32")
    latents = pair.encoder(images)
    assert keras.backend.standardize_dtype(latents.dtype) == "float16"
    assert keras.backend.standardize_dtype(pair.decoder(latents).dtype) == "float32"


@pytest.mark.parametrize(
    "build", [networks.convolutional, networks.residual_convolutional, networks.dense]
)
def test_pixels_without_activation_leave_the_interval(build):
    pair = build((8, 8, 1), latent_dim=4, output_activation=None)
    latents = 100 * np.random.default_rng(0).normal(size=(8, *pair.decoder.input_shape[1:]))
    pixels = ops.convert_to_numpy(pair.decoder(latents.astype("float32")))
    assert pixels.min() < 0
    assert pixels.max() > 1


def test_kernel_size_and_activation():
    encoder, _ = networks.convolutional(
        (8, 8, 1), (4,), latent_dim=None, kernel_size=5, activation="tanh"
    )
    assert tuple(encoder.layers[0].kernel.shape) == (5, 5, 1, 4)
    assert encoder.layers[0].activation is keras.activations.tanh


@pytest.mark.parametrize("build", [networks.convolutional, networks.residual_convolutional])
def test_strides_that_do_not_divide(build):
    text = r"divisible by 8.*`pad=True`.*images to 32 x 24.*Received: image_shape=\(28, 20, 1\)"
    with pytest.raises(ValueError, match=text):
        build((28, 20, 1), filters=(4, 4, 4))
    assert build((32, 24, 1), filters=(4, 4, 4)).encoder.output_shape[1:3] == (4, 3)


@pytest.mark.parametrize("build", [networks.convolutional, networks.residual_convolutional])
@pytest.mark.parametrize("shape", [(50, 37, 3), (7, 5, 1), (1, 1, 2), (8, 12, 1)], ids=str)
@pytest.mark.parametrize("latent_dim", [5, None])
def test_any_size_with_padding(build, shape, latent_dim):
    pair = build(shape, filters=(6, 7), latent_dim=latent_dim, pad=True)
    latents, images = run(pair, shape)
    assert latents == (2, -(-shape[0] // 4), -(-shape[1] // 4), latent_dim or 7)
    assert images.shape == (2, *shape)
    assert isinstance(pair.decoder.layers[-1], keras_vq.layers.StraightThroughClip)
    if shape == (8, 12, 1):  # nothing to pad, so no padding layer
        assert len(pair.encoder.layers) == len(build(shape, (6, 7), latent_dim).encoder.layers)


def test_padding_repeats_the_edge_and_crops_what_it_added(rng):
    images = rng.random((2, 6, 9, 3), "float32")
    options = {"filters": (4, 4), "latent_dim": 2}
    odd = networks.convolutional((6, 9, 3), pad=True, **options)
    even = networks.convolutional((8, 12, 3), **options)
    for one, other in zip(even, odd, strict=True):
        one.set_weights(other.get_weights())
    padded = np.pad(images, [(0, 0), (1, 1), (1, 2), (0, 0)], mode="edge")
    latents = odd.encoder(images)
    wanted = ops.convert_to_numpy(even.encoder(padded))
    np.testing.assert_allclose(ops.convert_to_numpy(latents), wanted, atol=1e-6)
    made = ops.convert_to_numpy(even.decoder(latents))[:, 1:-1, 1:-2]
    np.testing.assert_allclose(ops.convert_to_numpy(odd.decoder(latents)), made, atol=1e-6)


def test_two_level_takes_any_size_with_padding(rng):
    images = rng.random((4, 13, 10, 1), "float32")
    parts = networks.hierarchical((13, 10, 1), (6,), 4, 1, 3, pad=True)
    top, bottom = keras_vq.VectorQuantizer(8), keras_vq.VectorQuantizer(8)
    model = keras_vq.VQVAE2(*parts, top_quantizer=top, bottom_quantizer=bottom)
    assert model.code_shape == ((4, 3), (8, 6))
    assert model.reconstruct(images).shape == images.shape
    model.compile("adam")
    assert np.isfinite(model.fit(images, verbose=0).history["loss"][0])


@pytest.mark.parametrize(
    "build", [networks.convolutional, networks.residual_convolutional, networks.dense]
)
def test_bad_arguments(build):
    widths = "units" if build is networks.dense else "filters"
    for arguments, text in [
        (
            {"image_shape": (8, 8)},
            r"\(height, width, channels\), three positive integers. Received: \(8, 8\)",
        ),
        ({"image_shape": (8, 8, 0)}, "three positive integers"),
        ({"image_shape": None}, r"\(height, width, channels\).*Received: None"),
        ({"latent_dim": 0}, "`latent_dim` must be a positive integer. Received: 0"),
        ({widths: ()}, f"`{widths}` must be a sequence of integers"),
        ({widths: 32}, f"`{widths}` must be a sequence of integers.*Received: 32"),
        ({widths: (32, -1)}, "must be a positive integer. Received: -1"),
    ]:
        with pytest.raises(ValueError, match=text):
            build(**{"image_shape": (8, 8, 1), **arguments})
    with pytest.raises(ValueError, match="`latent_dim` must be a positive integer"):
        networks.flat_latent(networks.convolutional((8, 8, 1)), latent_dim=0)


def test_networks_save_and_load(tmp_path):
    pair = networks.residual_convolutional((8, 8, 1), filters=(4, 6), latent_dim=3)
    images = np.random.default_rng(0).random((2, 8, 8, 1), "float32")
    pair.encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(
        ops.convert_to_numpy(again(images)), ops.convert_to_numpy(pair.encoder(images)), atol=1e-6
    )
    assert isinstance(pair.decoder.layers[1], keras_vq.layers.ResidualStack)
    assert isinstance(pair.decoder.layers[-1], keras_vq.layers.StraightThroughClip)


@pytest.mark.parametrize("shape", [(8, 16, 1), (16, 8, 3)], ids=str)
def test_two_level(shape):
    parts = networks.hierarchical(
        shape, filters=(6, 7), latent_dim=5, residual_blocks=1, residual_filters=3
    )
    height, width = shape[0] // 4, shape[1] // 4
    images = np.random.default_rng(0).random((2, *shape), "float32")
    features = parts.bottom_encoder(images)
    assert tuple(features.shape) == (2, height, width, 7)
    top = parts.top_encoder(features)
    assert tuple(top.shape) == (2, height // 2, width // 2, 5)
    decoded = parts.top_decoder(top)
    assert tuple(decoded.shape) == (2, height, width, 5)
    bottom = parts.bottom_head(ops.concatenate([features, decoded], axis=-1))
    assert tuple(bottom.shape) == (2, height, width, 5)
    made = ops.convert_to_numpy(parts.decoder(ops.concatenate([bottom, bottom], axis=-1)))
    assert made.shape == (2, *shape)
    assert made.dtype == "float32"
    assert made.min() >= 0
    assert made.max() <= 1


@pytest.mark.backend_free
def test_parameters_of_two_level():
    parts = networks.hierarchical((32, 32, 3))
    blocks = 2 * ((9 * 128 * 32 + 32) + (32 * 128 + 128))
    counts = [part.count_params() for part in parts]
    assert counts == [
        (16 * 3 * 64 + 64) + (16 * 64 * 128 + 128) + (9 * 128 * 128 + 128) + blocks,
        (16 * 128 * 128 + 128) + (9 * 128 * 128 + 128) + blocks + (128 * 64 + 64),
        (9 * 64 * 128 + 128) + blocks + (16 * 128 * 64 + 64),
        (128 + 64) * 64 + 64,
        (9 * 128 * 128 + 128) + blocks + (16 * 128 * 64 + 64) + (16 * 64 * 3 + 3),
    ]


@pytest.mark.backend_free
def test_bad_arguments_of_two_level():
    with pytest.raises(networks.IndivisibleSizeError, match=r"divisible by 8.*32 x 24"):
        networks.hierarchical((28, 20, 1))
    with pytest.raises(ValueError, match="`latent_dim` must be a positive integer"):
        networks.hierarchical((32, 32, 3), latent_dim=0)


def receptive_field(model, shape):
    """Returns the rows of pixels on which the middle logit depends."""
    images = np.random.default_rng(0).random((1, *shape), "float32")
    logits = ops.convert_to_numpy(model(images))
    middle = logits.shape[1] // 2
    rows = []
    for row in range(shape[0]):
        changed = images.copy()
        changed[:, row] += 1.0
        after = ops.convert_to_numpy(model(changed))
        rows.append((after[0, middle, :] != logits[0, middle, :]).any())
    return np.flatnonzero(rows)


def test_patch_discriminator():
    model = networks.patch_discriminator((48, 40, 3), filters=(6, 8, 10))
    assert model.output_shape == (None, 12, 10, 1)
    kernels = [w for w in model.weights if len(w.shape) == 4]
    assert [tuple(w.shape) for w in kernels] == [
        (4, 4, 3, 6),
        (4, 4, 6, 8),
        (4, 4, 8, 10),
        (4, 4, 10, 1),
    ]
    for kernel in kernels[1:3]:
        assert ops.convert_to_numpy(kernel).std() == pytest.approx(0.02, rel=0.1)
    # A logit depends only on its image, also in training.
    images = np.random.default_rng(0).random((3, 48, 40, 3), "float32")
    whole = ops.convert_to_numpy(model(images, training=True))
    one = ops.convert_to_numpy(model(images[:1], training=False))
    np.testing.assert_allclose(whole[:1], one, atol=1e-6)


@pytest.mark.backend_free
@pytest.mark.parametrize(("filters", "patch"), [((4, 4, 4), 34), ((4, 4, 4, 4), 70)])
def test_patch_of_a_logit(filters, patch):
    model = networks.patch_discriminator((96, 96, 1), filters)
    # Without normalization, which depends on the whole image.
    plain = keras.Sequential(
        [layer for layer in model.layers if not isinstance(layer, layers.GroupNormalization)]
    )
    plain.build((None, 96, 96, 1))
    rows = receptive_field(plain, (96, 96, 1))
    assert len(rows) == rows[-1] - rows[0] + 1 == patch


def test_bad_arguments_of_patch_discriminator():
    for arguments, text in [
        (((8, 8), (4,)), r"`image_shape` must be \(height, width, channels\)"),
        (((8, 8, 1), ()), "`filters` must be a sequence of integers"),
    ]:
        with pytest.raises(ValueError, match=text):
            networks.patch_discriminator(*arguments)
