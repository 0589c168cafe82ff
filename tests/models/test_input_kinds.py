"""Tests that models of tables, sequences and volumes work as models of images do."""

import ast
import re
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq.priors import GaussianMixturePrior, TransformerPrior
from tests.models.cases import flattening

SHAPES = {"table": (6,), "sequence": (10, 2), "volume": (4, 4, 3, 1)}
OF_IMAGES = re.compile("pixel|image|channel|height", re.IGNORECASE)


def vqvae(shape):
    encoder, decoder = flattening(shape, (2, 3), (2, 3))
    return keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(8), decoder)


MODELS = {
    "autoencoder": lambda shape: keras_vq.Autoencoder(*flattening(shape, (3,), (3,))),
    "vae": lambda shape: keras_vq.VAE(*flattening(shape, (5,), (3,)), latent_dim=3),
    "vqvae": vqvae,
}


class FixedCodes:
    def __init__(self, codes):
        self.codes = codes

    def generate(self, n, seed):
        return self.codes[:n]


def rows(shape, count=8):
    return np.random.default_rng(0).random((count, *shape), "float32")


@pytest.fixture(params=SHAPES)
def shape(request):
    return SHAPES[request.param]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("autoencoder", "sequence"), ("vae", "table"), ("vqvae", "table"), ("vqvae", "volume")],
)
def test_methods(name, kind, tmp_path, capsys):
    shape = SHAPES[kind]
    model, x = MODELS[name](shape), rows(shape)
    assert model.input_shape == (None, *shape)
    latents = model.encode(x)
    decoded = model.decode(latents)
    assert decoded.shape == x.shape
    np.testing.assert_allclose(decoded, model.reconstruct(x), atol=1e-6)
    assert model.interpolate(x[:2], x[2:4], steps=3).shape == (2, 3, *shape)
    if name == "vqvae" and kind == "table":
        prior = FixedCodes(latents)
    elif name == "vqvae":
        prior = TransformerPrior.for_model(model, hidden_dim=8, num_layers=1)
        prior.fit_codes(model, x, verbose=0)
        assert prior.bits_per_dimension(latents, shape) > 0
    else:
        prior = GaussianMixturePrior(1, seed=0)
        prior.fit(latents)
    assert model.generate(2, prior, seed=0).shape == (2, *shape)
    again = keras_vq.models.ReconstructionModel.from_preset(model.save_to_preset(tmp_path / "it"))
    np.testing.assert_array_equal(again.encode(x), latents)
    model.summary()
    assert model.name in capsys.readouterr().out
    encode, decode, serving = model.signatures()
    code = ("codes", "int32") if name == "vqvae" else ("latents", "float32")
    assert encode.input == serving.input == ("inputs", "float32", shape, (0.0, 1.0))
    assert encode.output[:3] == decode.input[:3] == (*code, latents.shape[1:])
    assert decode.output == serving.output == ("reconstruction", "float32", shape, (None, None))


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("activation", "bounds"),
    [(None, (None, None)), ("tanh", (-1.0, 1.0)), ("relu", (0.0, None)), ("sigmoid", (0.0, 1.0))],
)
def test_exported_inputs_have_the_range_of_the_outputs(activation, bounds):
    decoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(6, activation=activation)])
    model = keras_vq.Autoencoder(flattening((6,), (3,), (3,))[0], decoder)
    assert model.signatures()[0].input.bounds == bounds


@pytest.mark.backend_free
def test_exported_inputs_of_another_shape_than_the_outputs_have_no_range():
    encoder, decoder = flattening((6,), (3,), (3,))[0], flattening((12,), (3,), (3,))[1]
    model = keras_vq.Autoencoder(encoder, decoder)
    assert model.signatures()[0].input.bounds == (None, None)


def of_any_length():
    encoder = keras.Sequential([keras.Input((None, 2)), keras.layers.Dense(3)])
    decoder = keras.Sequential([keras.Input((None, 3)), keras.layers.Dense(2)])
    return keras_vq.Autoencoder(encoder, decoder)


# Invalid calls: (model, valid inputs) -> None.
MISTAKES = {
    "another size": lambda model, x: model.fit(x[..., :0], verbose=0),
    "another rank": lambda model, x: model.encode(x[..., None]),
    "no batch axis": lambda model, x: model.reconstruct(x[0]),
    "batches of rows": lambda model, x: model.evaluate((row for row in x), verbose=0),
    "no rows": lambda model, x: model.fit(x[:0], verbose=0),
    "NaN": lambda model, x: model.fit(x * np.nan, verbose=0),
    "out of range": lambda model, x: model.fit(255 * x, verbose=0),
    "labels": lambda model, x: model.fit(x, np.arange(8)[:, None], verbose=0),
    "targets of another shape": lambda model, x: model.fit(x, x[..., None], verbose=0),
    "dictionary": lambda model, x: model.predict({"x": x}, verbose=0),
    "pair": lambda model, x: model.encode((x, x)),
    "latents of another shape": lambda model, x: model.decode(np.zeros((2, 7), "int32")),
    "no number": lambda model, x: model.generate(0, GaussianMixturePrior(1)),
    "prior without samples": lambda model, x: model.generate(2, x),
    "two shapes": lambda model, x: model.interpolate(x, x[:2]),
    "unknown length": lambda model, x: of_any_length().export("never_written"),
}


@pytest.mark.backend_free
@pytest.mark.parametrize("name", MODELS)
def test_errors_do_not_mention_images(name, shape):
    model, x = MODELS[name](shape), rows(shape)
    model.compile("sgd")
    for mistake in MISTAKES.values():
        with pytest.raises(ValueError, match="Received") as error:
            mistake(model, x)
        assert not OF_IMAGES.search(str(error.value))


@pytest.mark.backend_free
def test_warnings_do_not_mention_images(shape):
    x = rows(shape)
    vae, quantized = MODELS["vae"](shape), vqvae(shape)
    vae.compile("sgd", loss="mse")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vae.beta = 100.0
        vae.fit(x, verbose=0)
        quantized.encode(255 * x)
    texts = [str(each.message) for each in caught]
    assert any("is a mean over" in text for text in texts)
    assert any("Divide 8-bit values by 255" in text for text in texts)
    assert not [text for text in texts if OF_IMAGES.search(text)]


@pytest.mark.backend_free
def test_messages_in_the_code_do_not_mention_images():
    root = Path(keras_vq.__file__).parent
    of_models = {*root.glob("models/*.py"), *root.glob("priors/*.py"), *root.glob("_*.py")}
    found = []
    for path in sorted(of_models):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_warning = isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"
            if isinstance(node, ast.Raise) or is_warning:
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                found += [
                    f"{path.name}:{node.lineno} {text}"
                    for text in texts
                    if isinstance(text, str) and OF_IMAGES.search(text)
                ]
    # Models of images by definition.
    of_images = ("tiled_model.py", "vqvae2.py")
    assert [text for text in found if not text.startswith(of_images)] == []
