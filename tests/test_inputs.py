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
    methods = ("encode_quantized", "reconstruct", "encode", "encode_latents")
    return {name: getattr(model, name)(images) for name in methods}


@pytest.mark.parametrize("method", ["encode_quantized", "reconstruct", "encode", "encode_latents"])
@pytest.mark.parametrize("source", SOURCES)
def test_batched_methods(source, method, model, pixels, expected):
    given = getattr(model, method)(SOURCES[source](pixels))
    np.testing.assert_allclose(given, expected[method], atol=1e-6)


@pytest.mark.backend_free
@pytest.mark.parametrize("source", SOURCES)
def test_adapt_and_metrics(source, model, pixels):
    images, make = as_images(pixels), SOURCES[source]
    vectors = images.reshape(20, -1)
    adapted = [keras_vq.EMACodebook(3, seed=0) for _ in range(2)]
    adapted[0].adapt(make(pixels))
    adapted[1].adapt(images)
    np.testing.assert_array_equal(*(codebook.code_vectors() for codebook in adapted))
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
    prior = keras_vq.priors.TransformerPrior.for_model(model, hidden_dim=8, num_layers=1)
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
        prior = keras_vq.priors.TransformerPrior.for_model(
            model, hidden_dim=8, num_layers=1, num_classes=3
        )
        prior._fit_inputs = lambda inputs, validation, **_: fitted.append((inputs, validation))
        held_out = given[0] if len(given) == 1 else given
        prior.fit_codes(model, *given, validation_data=held_out)
    for of_data_set, of_arrays in zip(*fitted, strict=True):
        for name in ("codes", "labels"):
            np.testing.assert_array_equal(of_data_set[name], of_arrays[name])


@pytest.mark.backend_free
def test_two_passes_need_data_that_can_be_read_twice(pixels):
    networks = keras_vq.networks.hierarchical((8, 8, 1), (4,), 4, 1, 4)
    levels = {f"{name}_quantizer": keras_vq.VectorQuantizer(4) for name in ("top", "bottom")}
    model = keras_vq.VQVAE2(*networks, **levels)
    with pytest.raises(ValueError, match=r"must not be a generator.*Pass an array"):
        model.adapt(batch for batch in np.split(as_images(pixels), 5))
    model.adapt(ImageDataset(pixels))


@pytest.mark.parametrize("bad", ["photos/", None, {"x": 1}, 3.0j], ids=str)
def test_what_is_no_data(bad, model):
    for method in ("encode_quantized", "encode", "adapt"):
        with pytest.raises(ValueError, match=r"`inputs` must be an array, .*`tf.data.Dataset`"):
            getattr(model, method)(bad)


def test_a_pair_is_no_data(model, pixels):
    with pytest.raises(ValueError, match=r"From a pair \(inputs, labels\), pass only the inputs"):
        model.encode((as_images(pixels), LABELS))


class OfDictionaries(Batches):
    """PyDataset of dictionaries, or of pairs of a dictionary and labels."""

    def __getitem__(self, index):
        batch = super().__getitem__(index)
        return ({"image": batch[0]}, batch[1]) if self.labels else {"image": batch}


def tf_data_of_dictionaries(images):
    return tf_data(images).map(lambda image, label: {"image": image, "label": label})


def data_loader_of_dictionaries(images):
    import torch

    rows = [{"image": image, "label": label} for image, label in zip(images, LABELS, strict=True)]
    return torch.utils.data.DataLoader(rows, batch_size=8)


DICTIONARIES = {
    "dictionary": lambda images: {"image": images},
    "PyDataset": OfDictionaries,
    "PyDataset without labels": lambda images: OfDictionaries(images, labels=False),
    "generator": lambda images: ({"image": batch} for batch in np.split(images, 5)),
    "tf.data": tf_data_of_dictionaries,
    "DataLoader": data_loader_of_dictionaries,
}
METHODS = {
    "fit": lambda model, data: model.fit(data, verbose=0),
    "validation": lambda model, data: model.fit(
        np.eye(8, dtype="float32").reshape(1, 8, 8, 1), validation_data=data, verbose=0
    ),
    "evaluate": lambda model, data: model.evaluate(data, verbose=0),
    "predict": lambda model, data: model.predict(data, verbose=0),
}


@pytest.fixture
def compiled(model):
    model = keras.models.clone_model(model)
    model.compile("sgd")
    return model


@pytest.mark.parametrize("source", DICTIONARIES)
@pytest.mark.parametrize("method", METHODS)
def test_loops_of_keras_take_no_dictionaries(method, source, compiled, pixels):
    data = DICTIONARIES[source](as_images(pixels))
    with pytest.raises(ValueError, match=r"arrays, not dictionaries.*`dataset.map\(.*\['image'"):
        METHODS[method](compiled, data)


@pytest.mark.parametrize("source", DICTIONARIES)
def test_batched_methods_take_no_dictionaries(source, model, pixels):
    data = DICTIONARIES[source](as_images(pixels))
    if source == "dictionary":
        text = r"From a dictionary, pass one entry, such as `data\['image'\]`"
    else:
        text = r"`inputs` must be arrays, not dictionaries.*`dataset.map\("
    with pytest.raises(ValueError, match=text):
        model.encode(data)


@pytest.mark.backend_free
def test_metrics_and_priors_take_no_dictionaries(model, pixels):
    data = tf_data_of_dictionaries(as_images(pixels))
    with pytest.raises(ValueError, match="`real` must be arrays, not dictionaries"):
        metrics.compare_images(lambda batch: batch[:, 0, :, 0], data, data)
    prior = keras_vq.priors.TransformerPrior.for_model(
        model, hidden_dim=8, num_layers=1, num_classes=3
    )
    with pytest.raises(ValueError, match="`inputs` must be arrays, not dictionaries"):
        prior.fit_codes(model, data)


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("method", METHODS)
def test_loops_of_keras_take_no_list_of_images(method, kind, compiled, pixels):
    data = kind(as_images(pixels))
    # Keras takes a tuple or a list as `validation_data` to be (x, y).
    data = (data, None) if method == "validation" else data
    with pytest.raises(ValueError, match=rf"`x`.* not a {kind.__name__}.*`np.stack\(x\)`.* 20$"):
        METHODS[method](compiled, data)


def test_batches_of_keras_take_no_nested_arrays(compiled, pixels):
    images = as_images(pixels)
    for method in (compiled.train_on_batch, compiled.test_on_batch):
        with pytest.raises(ValueError, match="`x` must be arrays, not dictionaries"):
            method({"image": images})
        with pytest.raises(ValueError, match=r"Stack arrays of the same shape: `np.stack\(y\)`"):
            method(images, list(images))


def test_validation_data_may_be_a_list(compiled, pixels):
    images = as_images(pixels)
    logs = compiled.fit(images, validation_data=[images, images], verbose=0).history
    assert np.isfinite(logs["val_loss"][0])


@pytest.mark.parametrize("method", ["fit", "evaluate", "encode"])
def test_data_set_without_batches(method, compiled, pixels):
    data = tf_data(as_images(pixels)).unbatch()
    call_it = METHODS.get(method, lambda model, data: model.encode(data))
    with pytest.raises(ValueError, match=r"Batch the data set \(`dataset.batch\(64\)`\)"):
        call_it(compiled, data)


def test_batches_are_checked_as_arrays_are(model, pixels):
    spoilt = as_images(pixels)
    spoilt[11] = np.nan
    with pytest.raises(ValueError, match=r"`inputs` must be finite.*NaN.*at index 3"):
        model.encode(Batches(spoilt))
    with pytest.raises(ValueError, match=r"`inputs` must have the shape \(n, 8, 8, 1\)"):
        model.encode(Batches(spoilt[:, :4]))
    with pytest.raises(ValueError, match="`inputs` must not be empty"):
        model.encode(iter(()))


@pytest.mark.backend_free
def test_a_generator_keeps_its_first_batch():
    first, again = _inputs.first_batch(iter([1, 2, 3]))
    assert (first, list(again)) == (1, [1, 2, 3])
    assert _inputs.first_batch(iter(()))[0] is None
