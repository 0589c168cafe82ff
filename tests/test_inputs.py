"""Tests that all forms of data give the same results as arrays."""

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq import _inputs, metrics
from keras_vq.data import ImageDataset

LABELS = np.arange(20) % 3


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), "uint8")


class Batches(keras.utils.PyDataset):
    """PyDataset of (images, labels) in batches of 8, 8 and 4."""

    def __init__(self, images, labels=True):
        super().__init__()
        self.images, self.labels = images, labels

    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return (self.images[part], LABELS[part]) if self.labels else self.images[part]


def tf_data(images):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(8)


def data_loader(images):
    import torch

    pairs = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(LABELS))
    return torch.utils.data.DataLoader(pairs, batch_size=8)


SOURCES = {
    "list": lambda pixels: (pixels / 255).tolist(),
    "tensor": lambda pixels: keras.ops.convert_to_tensor(pixels / 255, "float32"),
    "image data set": lambda pixels: ImageDataset(pixels, LABELS),
    "batches": lambda pixels: ImageDataset(pixels, LABELS).batches(8),
    "batches with labels": lambda pixels: ImageDataset(pixels, LABELS).batches(8, with_labels=True),
    "PyDataset": lambda pixels: Batches(as_images(pixels)),
    "PyDataset without labels": lambda pixels: Batches(as_images(pixels), labels=False),
    "generator": lambda pixels: (batch for batch in np.split(as_images(pixels), 5)),
    "tf.data": lambda pixels: tf_data(as_images(pixels)),
    "DataLoader": lambda pixels: data_loader(as_images(pixels)),
}


def as_images(pixels):
    return (pixels / 255).astype("float32")


@pytest.fixture(scope="module")
def model():
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(4,), latent_dim=4)
    return keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(8), decoder)


@pytest.fixture(scope="module")
def expected(model, pixels):
    images = as_images(pixels)
    methods = ("encode", "reconstruct", "encode_to_codes", "latents")
    return {name: call(model, name, images) for name in methods}


def call(model, name, data):
    if name == "latents":  # the input of `adapt`
        return model.in_batches("continuous_latents", data, 128, model.image_shape)
    return getattr(model, name)(data)


@pytest.mark.parametrize("method", ["encode", "reconstruct", "encode_to_codes", "latents"])
@pytest.mark.parametrize("source", SOURCES)
def test_batched_methods(source, method, model, pixels, expected):
    given = call(model, method, SOURCES[source](pixels))
    np.testing.assert_allclose(given, expected[method], atol=1e-6)


@pytest.mark.backend_free
@pytest.mark.parametrize("source", SOURCES)
def test_adapt_and_metrics(source, model, pixels):
    images, make = as_images(pixels), SOURCES[source]
    vectors = images.reshape(20, -1)
    adapted = [keras_vq.EMACodebook(3, seed=0) for _ in range(2)]
    adapted[0].adapt(make(pixels))
    adapted[1].adapt(images)
    np.testing.assert_array_equal(*(codebook.codes() for codebook in adapted))
    features = metrics.image_features(lambda batch: batch.reshape(len(batch), -1), make(pixels))
    np.testing.assert_allclose(features, vectors, atol=1e-7)


@pytest.mark.parametrize("source", ["image data set", "batches", "PyDataset without labels"])
@pytest.mark.parametrize("loss", [None, "mse"])
def test_loops_of_keras(source, loss, pixels):
    """Data sets are read to build the model, to measure the variance, and to fit."""
    encoder = keras.Sequential([keras.layers.Conv2D(4, 2, 2)])
    decoder = keras.Sequential([keras.layers.Conv2DTranspose(1, 2, 2)])
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(8), decoder)
    model.compile("sgd", loss=loss)
    data = SOURCES[source](pixels)
    logs = model.fit(data, validation_data=data, verbose=0).history
    assert np.isfinite(logs["val_loss"][0])
    assert np.isfinite(model.evaluate(data, verbose=0)[0])
    assert model.predict(data, verbose=0)["reconstruction"].shape == (20, 8, 8, 1)


def test_prior_of_the_codes_of_a_data_set(model, pixels):
    prior = keras_vq.priors.TransformerPrior.for_codes_of(model, dim=8, depth=1)
    data = ImageDataset(pixels)
    history = prior.fit_codes(model, data, validation_data=data.batches(8), verbose=0)
    assert np.isfinite(history.history["val_loss"][0])


@pytest.mark.backend_free
@pytest.mark.parametrize(
    "source", ["image data set", "batches with labels", "PyDataset", "tf.data", "DataLoader"]
)
def test_prior_takes_the_labels_of_a_data_set(source, model, pixels):
    fitted = []
    for given in ((SOURCES[source](pixels),), (as_images(pixels), LABELS)):
        prior = keras_vq.priors.TransformerPrior.for_codes_of(model, dim=8, depth=1, num_classes=3)
        prior.fit_inputs = lambda inputs, validation, **_: fitted.append((inputs, validation))
        held_out = given[0] if len(given) == 1 else given
        prior.fit_codes(model, *given, validation_data=held_out)
    for of_data_set, of_arrays in zip(*fitted, strict=True):
        for name in ("codes", "labels"):
            np.testing.assert_array_equal(of_data_set[name], of_arrays[name])


@pytest.mark.backend_free
def test_two_passes_need_data_that_can_be_read_twice(pixels):
    networks = keras_vq.networks.two_level((8, 8, 1), (4,), 4, 1, 4)
    levels = {f"{name}_quantizer": keras_vq.VectorQuantizer(4) for name in ("top", "bottom")}
    model = keras_vq.VQVAE2(*networks, **levels)
    with pytest.raises(ValueError, match="generator can be read only once: pass an array"):
        model.adapt(batch for batch in np.split(as_images(pixels), 5))
    model.adapt(ImageDataset(pixels))


@pytest.mark.parametrize("bad", ["photos/", None, {"x": 1}, 3.0j], ids=str)
def test_what_is_no_data(bad, model):
    for method in ("encode", "encode_to_codes", "adapt"):
        with pytest.raises(ValueError, match=r"`images` must be an array, .*`tf.data.Dataset`"):
            getattr(model, method)(bad)


def test_a_pair_is_no_data(model, pixels):
    with pytest.raises(ValueError, match=r"Of a pair \(inputs, labels\), pass the inputs alone"):
        model.encode((as_images(pixels), LABELS))


def test_batches_are_checked_as_arrays_are(model, pixels):
    spoilt = as_images(pixels)
    spoilt[11] = np.nan
    with pytest.raises(ValueError, match=r"`images` holds values that are NaN.*at index 3"):
        model.encode(Batches(spoilt))
    with pytest.raises(ValueError, match=r"`images` must have the shape \(n, 8, 8, 1\)"):
        model.encode(Batches(spoilt[:, :4]))
    with pytest.raises(ValueError, match="`images` holds no batches"):
        model.encode(iter(()))


@pytest.mark.backend_free
def test_a_generator_keeps_its_first_batch():
    first, again = _inputs.first_batch(iter([1, 2, 3]))
    assert (first, list(again)) == (1, [1, 2, 3])
    assert _inputs.first_batch(iter(()))[0] is None
