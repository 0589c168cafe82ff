"""Tests that invalid input raises an actionable error and leaves the model unchanged."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_vq
from tests.models.cases import MODEL_CASES
from tests.models.checks import assert_same, weights_of


@pytest.fixture(scope="module")
def model():
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(8,), latent_dim=4)
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    model.compile("sgd")
    return model


@pytest.fixture
def unchanged(model):
    """Yields the model and checks after the test that its weights are unchanged."""
    before = weights_of(model)
    yield model
    assert_same(weights_of(model), before)
    assert all(np.isfinite(weight).all() for weight in before)


def with_pixel(images, value):
    bad = images.copy()
    bad[7, 3, 3, 0] = value
    return bad


BAD_FITS = {
    "three channels": (
        lambda x: (np.repeat(x, 3, axis=-1), None),
        r"`x` must have the shape \(n, 8, 8, 1\).*size 3, not 1",
    ),
    "another size": (
        lambda x: (x[:, :4], None),
        r"\(n, 8, 8, 1\).*Received: shape \(256, 4, 8, 1\)",
    ),
    "no channel axis": (
        lambda x: (x[..., 0], None),
        r"batch axis \(x\[None\]\) or a last axis of size 1 \(x\[..., None\]\)",
    ),
    "NaN in x": (
        lambda x: (with_pixel(x, np.nan), None),
        "`x`.*Remove the NaN.*first at index 7",
    ),
    "infinity in x": (lambda x: (with_pixel(x, np.inf), None), "`x`.*infinite.*first at index 7"),
    "NaN in y": (lambda x: (x, with_pixel(x, np.nan)), "`y`.*NaN.*first at index 7"),
    "infinity in y": (lambda x: (x, with_pixel(x, -np.inf)), "`y`.*infinite.*first at index 7"),
    "no images": (
        lambda x: (x[:0], None),
        r"`x` must be an array of shape \(n,.* is empty",
    ),
    "lengths": (lambda x: (x, x[:100]), "same number of rows. Received: 256 and 100"),
    "three channels in y": (
        lambda x: (x, np.repeat(x, 3, axis=-1)),
        r"`y` must have the shape \(n, 8, 8, 1\) of the decoder outputs.*size 3",
    ),
    "one color": (lambda x: (np.zeros_like(x), None), "must be positive.*pass `data_variance`"),
}


@pytest.mark.parametrize("name", BAD_FITS)
def test_fit(name, unchanged, images):
    make, text = BAD_FITS[name]
    with pytest.raises(ValueError, match=text):
        unchanged.fit(*make(images), verbose=0)


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays, length=1):
        super().__init__()
        self.arrays, self.length = arrays, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.arrays


def test_fit_on_an_empty_data_set(unchanged, images):
    with pytest.raises(ValueError, match=r"`x` must not be empty. Received: an empty data set"):
        unchanged.fit(Batches(images, length=0), verbose=0)


def test_target_of_a_data_set_that_would_be_stretched(images):
    # One output channel would broadcast silently to three of the target.
    model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=2))
    model.compile("sgd")
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"\(n, 8, 8, 1\) of the decoder outputs"):
        model.fit(Batches(images, np.repeat(images, 3, axis=-1)), verbose=0)
    assert_same(weights_of(model), before)


@pytest.mark.parametrize(
    "method", ["encode_quantized", "reconstruct", "encode", "evaluate", "predict"]
)
def test_methods_given_images_of_another_shape(method, unchanged, images):
    arguments = {"verbose": 0} if method in ("evaluate", "predict") else {}
    for bad in (np.repeat(images, 3, axis=-1), images[:, :4]):
        with pytest.raises(ValueError, match="8, 8, 1"):
            getattr(unchanged, method)(bad, **arguments)


def test_decoding_of_another_shape(unchanged):
    with pytest.raises(ValueError, match=r"`latents` must have the shape \(n, 4, 4, 4\)"):
        unchanged.decode_quantized(np.zeros((3, 4, 4, 9), "float32"))


@pytest.mark.parametrize("method", ["encode_quantized", "reconstruct", "encode"])
def test_methods_given_no_batch(method, unchanged, images):
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        getattr(unchanged, method)(images, batch_size=0)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_images_of_eight_bits(dtype, images):
    model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=2))
    model.compile(keras.optimizers.SGD(0.0))
    bad = np.rint(images * 255).astype(dtype)
    with pytest.raises(ValueError, match=r"in \[0, 1\], the range.*Divide 8-bit.*from 0 to 255"):
        model.fit(bad, verbose=0)
    with pytest.warns(UserWarning, match=r"values up to 255.*\[0, 1\].*Divide 8-bit") as caught:
        model.encode(bad)
    assert caught[0].filename == __file__


def test_diverging_loss_raises_an_error(images, tmp_path):
    model = keras_vq.Autoencoder(
        *keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=2, output_activation=None)
    )
    model.compile(keras.optimizers.SGD(1e20))
    model.save(tmp_path / "last.keras")
    epochs = []
    callbacks = [
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch)),
        keras.callbacks.ModelCheckpoint(tmp_path / "last.keras"),
    ]
    with pytest.raises(
        ValueError, match=r"decrease the learning rate.*Received: loss .* in epoch 1$"
    ):
        model.fit(images, epochs=3, verbose=0, callbacks=callbacks)
    assert epochs == [0]
    # The checkpoint must not contain NaN weights.
    saved = keras_vq.load_model(tmp_path / "last.keras")
    assert all(np.isfinite(weight).all() for weight in weights_of(saved))


def test_parts_that_are_none():
    encoder, decoder = keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=2)
    for parts, text in [
        (
            (len, decoder),
            "`encoder` must be a Keras layer or model. Received: <built-in function len>",
        ),
        ((encoder, None), "`decoder` must be a Keras layer or model. Received: None"),
    ]:
        with pytest.raises(ValueError, match=text):
            keras_vq.Autoencoder(*parts)


@pytest.mark.parametrize(
    "build",
    [
        keras_vq.Autoencoder,
        lambda encoder, decoder: keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder),
    ],
    ids=["autoencoder", "vqvae"],
)
def test_decoder_that_takes_other_latents(build):
    encoder, _ = keras_vq.networks.convolutional((8, 8, 1), filters=(8,), latent_dim=4)
    _, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(8,), latent_dim=6)
    with pytest.raises(ValueError, match=r"`latents` must have the shape \(n, 4, 4, 6\)"):
        build(encoder, decoder)


def test_unbuilt_model(images):
    encoder = keras.Sequential([layers.Conv2D(4, 2, 2)])
    decoder = keras.Sequential([layers.Conv2DTranspose(1, 2, 2)])
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    for call in (
        lambda: model.encode_quantized(images),
        lambda: model.reconstruct(images),
        lambda: model.interpolate(images, images),
        lambda: model.encode(images),
        lambda: model.decode(np.zeros((1, 4, 4), "int32")),
        lambda: model.adapt(images),
    ):
        with pytest.raises(
            ValueError, match=r"Fit the model, or call it on a batch. Received: an unbuilt model"
        ):
            call()


# --- files


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "model.keras"
    model.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.9999])
def test_file_cut_short(share, file, tmp_path):
    path = tmp_path / "cut.keras"
    path.write_bytes(file[: int(share * len(file))])
    with pytest.raises(
        ValueError, match=r"not a complete `.keras` file.*Copy the file again.*Received: a file of"
    ):
        keras_vq.load_model(path)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8])
def test_file_with_a_damaged_stretch(share, file, tmp_path):
    path = tmp_path / "damaged.keras"
    start = int(share * len(file))
    path.write_bytes(file[:start] + b"\xff" * 64 + file[start + 64 :])
    with pytest.raises(ValueError, match=r"not a complete `.keras` file"):
        keras_vq.load_model(path)


def test_file_of_another_kind(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "no model")
    with pytest.raises(ValueError, match=r"not a complete `.keras` file"):
        keras_vq.load_model(tmp_path / "other.keras")


def test_no_file(tmp_path):
    for path in (tmp_path / "none.keras", str(tmp_path)):
        with pytest.raises(ValueError, match=r"must be an existing `.keras` file. Received:"):
            keras_vq.load_model(path)


@pytest.mark.parametrize(
    "method", ["encode_quantized", "reconstruct", "encode", "evaluate", "predict"]
)
def test_nan_inputs_raise_an_error_after_training(method, digits):
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(4,), latent_dim=4)
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(8), decoder)
    model.compile("adam")
    images = digits[:8].copy()
    images[3, 2, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite.* the first at index 3"):
        getattr(model, method)(images)


@pytest.mark.backend_free
def test_nan_in_a_later_batch_is_reported_as_nan(digits):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return (digits[:8] if index == 0 else with_pixel(digits[8:16], np.nan),)

    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(4,), latent_dim=4)
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(8), decoder)
    model.compile("adam")
    with pytest.raises(
        ValueError, match=r"`x` must be finite.* NaN or infinite.*first at index 15"
    ):
        model.fit(Batches(), verbose=0)


def test_second_build_changes_nothing(digits):
    networks = keras_vq.networks.convolutional((8, 8, 1), filters=(4,), latent_dim=4)
    model = keras_vq.VQVAE(networks.encoder, keras_vq.VectorQuantizer(8), networks.decoder)
    before = model.get_weights()
    model.build((None, 8, 8, 1))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match=r"`input_shape` must have the shape \(n, 8, 8, 1\)"):
        model.build((None, 16, 16, 1))


def test_nan_latents_raise_an_error():
    model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), units=(4,), latent_dim=2))
    with pytest.raises(ValueError, match="`latents` must be finite"):
        model.decode(np.full((3, 2), np.inf, "float32"))


def test_large_latents_raise_no_warning_about_8_bit_values():
    model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), units=(4,), latent_dim=2))
    assert model.decode(np.full((3, 2), 100.0, "float32")).shape == (3, 8, 8, 1)


@pytest.mark.backend_free
@pytest.mark.parametrize("case", MODEL_CASES, ids=[case.id for case in MODEL_CASES])
def test_latents_and_codes_of_another_shape(case):
    model = case.build()
    is_vq = hasattr(model, "encode_quantized")
    inputs = np.zeros((2, *case.input_shape), "float32")
    latents = (model.encode_quantized if is_vq else model.encode)(inputs)
    shape = r"\(n, " + ", ".join(str(size) for size in latents.shape[1:]) + r"\)"
    for wrong in (latents[0], latents[..., None], latents[..., :1]):
        with pytest.raises(ValueError, match=rf"`latents` must have the shape {shape} of the de"):
            (model.decode_quantized if is_vq else model.decode)(wrong)
    if not is_vq:
        return
    codes = model.encode(inputs)
    parts = codes._asdict() if isinstance(codes, tuple) else {None: codes}
    for name, part in parts.items():
        shape = r"\(n, " + ", ".join(str(size) for size in part.shape[1:]) + r"\)"
        called = "codes" if name is None else f"codes.{name}"
        for wrong in (part[0], part[..., None], part[:, :1], np.float32(part), None):
            given = wrong if name is None else codes._replace(**{name: wrong})
            text = "be integers from 0" if getattr(wrong, "dtype", 0) == "float32" else "have the"
            text = f"have the shape {shape}" if text == "have the" else text
            with pytest.raises(ValueError, match=rf"`{called}` must {text}.*Received"):
                model.decode(given)


@pytest.mark.backend_free
def test_a_decoder_of_any_size_takes_codes_of_any_grid():
    encoder, _ = keras_vq.networks.convolutional((8, 8, 1), filters=(8,), latent_dim=4)
    decoder = keras.Sequential(
        [keras.Input((None, None, 4)), layers.UpSampling2D(), layers.Conv2D(1, 3, padding="same")]
    )
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    assert model.decode(np.zeros((2, 3, 5), int)).shape == (2, 6, 10, 1)
    assert model.decode_quantized(np.zeros((2, 3, 5, 4), "float32")).shape == (2, 6, 10, 1)
    with pytest.raises(ValueError, match=r"`codes` must have the shape \(n, any, any\)"):
        model.decode(np.zeros((2, 3), int))
