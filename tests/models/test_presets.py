"""Tests of presets: saving, loading, errors, and the presets of the package."""

import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq._fingerprint import fingerprint
from keras_vq.models import ReconstructionModel, presets
from recipes import saved_models
from tests.models.checks import assert_same, random_states_of, weights_of

ROOT = Path(__file__).parents[2]
NAMED = {
    "vae_mnist": (keras_vq.VAE, (28, 28, 1)),
    "vqvae_cifar10": (keras_vq.VQVAE, (32, 32, 3)),
    "vqvae_mnist": (keras_vq.VQVAE, (28, 28, 1)),
}
BYTES = 5_000_000


def build():
    return keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), units=(16,), latent_dim=4))


@pytest.fixture
def saved(tmp_path):
    """Returns the folder of a saved autoencoder preset."""
    return build().save_to_preset(tmp_path / "saved", figures={"test MSE": 0.5})


def has_mnist():
    folder = os.environ.get("TFDS_DATA_DIR")
    return folder is not None and os.path.isdir(os.path.join(folder, "mnist"))


# --- user presets


def test_round_trip(fitted, tmp_path):
    if not fitted.case.infers and not fitted.case.has_own_state:
        pytest.skip("is saved as another case")
    folder = fitted.model.save_to_preset(tmp_path / "some" / "preset")
    assert sorted(path.name for path in folder.iterdir()) == ["model.keras", "preset.json"]
    again = type(fitted.model).from_preset(folder)
    assert type(again) is type(fitted.model)
    assert_same(weights_of(again), weights_of(fitted.model))
    assert_same(random_states_of(again), random_states_of(fitted.model))
    np.testing.assert_array_equal(
        again.reconstruct(fitted.held_out), fitted.model.reconstruct(fitted.held_out)
    )
    if isinstance(again, keras_vq.VQVAE):
        np.testing.assert_array_equal(
            again.encode(fitted.held_out), fitted.model.encode(fitted.held_out)
        )


def test_saving_leaves_the_model_and_its_optimizer_as_they_are(images, tmp_path):
    model = build()
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(images, batch_size=64, verbose=0)
    model.save_to_preset(tmp_path / "preset")
    assert model.compiled
    assert int(model.optimizer.iterations) == 4
    model.fit(images, batch_size=64, verbose=0)

    again = ReconstructionModel.from_preset(tmp_path / "preset")
    assert not again.compiled
    # Presets exclude the optimizer: Adam has two float32 variables per weight.
    model.save(tmp_path / "with_optimizer.keras")
    with_optimizer = (tmp_path / "with_optimizer.keras").stat().st_size
    without = (tmp_path / "preset" / "model.keras").stat().st_size
    assert without < with_optimizer - 8 * model.count_params()
    again.compile(keras.optimizers.Adam(3e-3))
    again.fit(images, batch_size=64, verbose=0)


def test_preset_json_says_what_is_known(tmp_path):
    figures = {"test MSE": np.float32(0.25), "codes": np.int64(3), "remark": "none"}
    model = build()
    folder = model.save_to_preset(tmp_path / "preset", figures, description="A toy")
    record = json.loads((folder / "preset.json").read_text())
    sha256 = record.pop("sha256")
    assert record.pop("fingerprint") == fingerprint(model).hex()
    assert record == {
        "class": "Autoencoder",
        "description": "A toy",
        "figures": {"test MSE": 0.25, "codes": 3, "remark": "none"},
        "versions": {"keras": keras.__version__, "keras_vq": keras_vq.__version__},
    }
    assert len(sha256) == 64


def test_folder_may_be_empty_and_is_given_as_a_text_too(tmp_path, images):
    model = build()
    (tmp_path / "empty").mkdir()
    model.save_to_preset(str(tmp_path / "empty"))
    again = keras_vq.Autoencoder.from_preset(str(tmp_path / "empty"))
    np.testing.assert_array_equal(again.reconstruct(images), model.reconstruct(images))


def test_folder_with_the_name_of_a_preset_is_loaded_by_path(saved, tmp_path, monkeypatch):
    saved.rename(tmp_path / "vae_mnist")
    monkeypatch.chdir(tmp_path)
    assert isinstance(ReconstructionModel.from_preset("vae_mnist"), keras_vq.VAE)
    assert isinstance(ReconstructionModel.from_preset("./vae_mnist"), keras_vq.Autoencoder)
    assert isinstance(ReconstructionModel.from_preset(Path("vae_mnist")), keras_vq.Autoencoder)


# --- saving errors


def test_preset_is_replaced_only_when_told_to(saved, images):
    (saved / "picture.png").write_bytes(b"of the user's")
    before = (saved / "preset.json").read_bytes()
    other = build()
    with pytest.raises(
        ValueError, match=r"already contains a preset. Pass `overwrite=True`.*saved"
    ):
        other.save_to_preset(saved)
    assert (saved / "preset.json").read_bytes() == before

    other.save_to_preset(saved, overwrite=True)
    again = keras_vq.Autoencoder.from_preset(saved)
    np.testing.assert_array_equal(again.reconstruct(images), other.reconstruct(images))
    assert (saved / "picture.png").read_bytes() == b"of the user's"
    assert len(list(saved.iterdir())) == 3
    assert list(saved.parent.iterdir()) == [saved]


def test_a_link_to_a_folder_stays_one(saved, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(saved, target_is_directory=True)
    build().save_to_preset(link, overwrite=True)
    assert link.is_symlink()
    keras_vq.Autoencoder.from_preset(link)


@pytest.mark.backend_free
def test_other_files_are_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match=r"must be new or empty.*which contains other files"):
        build().save_to_preset(tmp_path, overwrite=True)
    with pytest.raises(ValueError, match=r"must be a folder\. Received: the file .*thesis\.tex"):
        build().save_to_preset(tmp_path / "thesis.tex", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.backend_free
@pytest.mark.parametrize("fails", ["save", "json"])
def test_a_save_that_fails_leaves_the_old_preset(fails, saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def no_space(*args, **kwargs):
        raise OSError("No space left on device")

    model = build()
    if fails == "save":
        monkeypatch.setattr(model, "save", no_space)
    else:
        monkeypatch.setattr(presets.json, "dumps", no_space)
    with pytest.raises(OSError, match="No space"):
        model.save_to_preset(saved, overwrite=True)
    with pytest.raises(OSError, match="No space"):
        model.save_to_preset(saved.parent / "new")
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ([0.5], r"must be a dictionary\. Received: \[0\.5\]"),
        ({"MSE": float("nan")}, "finite numbers or strings. Received: 'MSE': nan"),
        ({"MSE": [0.5]}, r"Received: 'MSE': \[0\.5\]"),
        ({3: 0.5}, r"Received: 3: 0\.5"),
    ],
)
def test_figures_that_are_none(figures, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        build().save_to_preset(tmp_path / "preset", figures)
    assert not list(tmp_path.iterdir())


@pytest.mark.backend_free
def test_unbuilt_model_is_not_saved(tmp_path):
    encoder = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])
    model = keras_vq.Autoencoder(encoder, keras.Sequential([keras.layers.Dense(64)]))
    with pytest.raises(ValueError, match=r"must be built.*Received: an unbuilt model"):
        model.save_to_preset(tmp_path / "preset")


# --- invalid presets


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("vqvae_mnits", "one of the names vae_mnist, vqvae_cifar10, vqvae_mnist, or a folder"),
        ("vqvae_mnst", r"load_model. Did you mean 'vqvae_mnist'\? Received: 'vqvae_mnst', which"),
        ("VQVAE-MNIST", r"Did you mean 'vqvae_mnist'\?"),
        ("nothing like it", r"load_model. Received: 'nothing like it', which is neither"),
        ("vqvae_mnits", "Received: 'vqvae_mnits', which is neither a name nor a folder"),
        (__file__, r"Received: '.*test_presets\.py', which is a file"),
        (None, "must be a name or a folder. Received: None"),
    ],
)
def test_unknown_preset(preset, message):
    with pytest.raises(ValueError, match=message):
        keras_vq.VQVAE.from_preset(preset)


@pytest.mark.backend_free
def test_no_named_presets_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "_ROOTS", (tmp_path / "wheel", tmp_path / "checkout"))
    with pytest.raises(ValueError, match="none is installed"):
        keras_vq.VQVAE.from_preset("vqvae_mnist")


@pytest.mark.backend_free
def test_names_are_looked_for_in_the_package_first(saved, monkeypatch, tmp_path):
    roots = (tmp_path / "wheel", tmp_path / "checkout")
    monkeypatch.setattr(presets, "_ROOTS", roots)
    shutil.copytree(saved, roots[1] / "of_checkout")
    shutil.copytree(saved, roots[1] / ".keras_vq_unfinished_0")
    assert list(presets.named_presets()) == ["of_checkout"]
    shutil.copytree(saved, roots[0] / "of_wheel")
    assert list(presets.named_presets()) == ["of_wheel"]
    assert keras_vq.Autoencoder.from_preset("of_wheel").input_shape == (None, 8, 8, 1)


@pytest.mark.backend_free
@pytest.mark.parametrize("name", ["model.keras", "preset.json"])
def test_folder_that_lacks_a_file(name, saved):
    (saved / name).unlink()
    other = "preset.json" if name == "model.keras" else "model.keras"
    with pytest.raises(ValueError, match=rf"without {name}; it contains '{other}'"):
        keras_vq.Autoencoder.from_preset(saved)


@pytest.mark.backend_free
def test_empty_folder(tmp_path):
    with pytest.raises(
        ValueError, match=r"without model\.keras and preset\.json; it contains nothing"
    ):
        keras_vq.Autoencoder.from_preset(tmp_path)


@pytest.mark.backend_free
@pytest.mark.parametrize("text", ["", "[]", '{"class": "Autoe', "\xff"])
def test_damaged_record(text, saved):
    (saved / "preset.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"preset\.json' must be a JSON object. Copy the whole folder again"
    ):
        keras_vq.Autoencoder.from_preset(saved)


@pytest.mark.backend_free
@pytest.mark.parametrize("damage", ["cut", "changed", "another"])
def test_file_that_is_not_the_one_that_was_saved(damage, saved):
    path = saved / "model.keras"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        build().save(path)
    with pytest.raises(ValueError, match=r"does not match preset\.json"):
        keras_vq.Autoencoder.from_preset(saved)


def test_preset_of_another_class(saved):
    with pytest.raises(ValueError, match=r"must be of class VAE. Load it with VQVAE\.from_preset"):
        keras_vq.VAE.from_preset("vqvae_mnist")
    with pytest.raises(ValueError, match=r"of class VQVAE.*Received: class Autoencoder"):
        keras_vq.VQVAE.from_preset(saved)
    assert isinstance(ReconstructionModel.from_preset(saved), keras_vq.Autoencoder)


# --- presets of the package


def test_names():
    assert list(presets.named_presets()) == list(NAMED) == sorted(saved_models.PLANS)


@pytest.mark.parametrize("name", NAMED)
def test_named_preset_reconstructs(name, rng):
    cls, image_shape = NAMED[name]
    model = cls.from_preset(name)
    assert type(model) is cls
    images = rng.random((3, *image_shape), "float32")
    made = model.reconstruct(images)
    assert made.shape == images.shape
    assert np.isfinite(made).all()
    if cls is keras_vq.VQVAE:
        codes = model.encode(images)
        np.testing.assert_allclose(model.decode(codes), made, atol=1e-6)
    else:
        assert np.isfinite(model.generate(3, seed=0)).all()
    # Can be trained further.
    model.compile("adam")
    history = model.fit(images, batch_size=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("name", NAMED)
def test_named_preset_is_what_its_record_says(name):
    record = presets.read_record(presets.named_presets()[name])
    model = ReconstructionModel.from_preset(name)
    figures = record["figures"]
    assert record["class"] == type(model).__name__
    assert record["command"] == f"python -m recipes.saved_models --only {name}"
    assert record["seed"] == 0
    assert figures["parameters"] == model.count_params()
    assert 0 < figures["test MSE"] < 0.01
    # The mean PSNR is above the PSNR of the mean error (Jensen).
    assert figures["PSNR, dB"] > -10 * np.log10(figures["test MSE"]) - 1e-3
    assert 0.7 < figures["SSIM"] <= 1
    if isinstance(model, keras_vq.VQVAE):
        (size,) = model.quantizer.codebook_sizes
        positions = model.encode(np.zeros((1, *model.input_shape[1:]), "float32")).size
        assert figures["codes"] == size
        assert 0.9 * size < figures["codes used"] <= size
        assert 1 < figures["perplexity"] <= figures["codes used"]
        assert figures["bits per image"] == positions * np.log2(size)
    else:
        assert -110 < figures["ELBO, nats"] < -90
        assert 0 < figures["KL divergence, nats"] < -figures["ELBO, nats"]


@pytest.mark.backend_free
@pytest.mark.parametrize("name", NAMED)
def test_named_preset_is_small(name):
    folder = presets.named_presets()[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) < BYTES
    assert (folder / "model.keras").stat().st_size > 10_000
    assert (folder / "reconstructions.png").stat().st_size > 10_000


@pytest.mark.backend_free
def test_page_on_the_models_is_up_to_date():
    folder = ROOT / "saved_models"
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert page == saved_models.readme(folder), "run: python -m recipes.saved_models"


NEEDS_MNIST = pytest.mark.skipif(not has_mnist(), reason="no MNIST in TFDS_DATA_DIR")


@NEEDS_MNIST
@pytest.mark.backend_free
def test_recipe_writes_presets(tmp_path):
    saved_models.make("vae_mnist", tmp_path, limit=64)
    record = presets.read_record(tmp_path / "vae_mnist")
    assert record["command"] == "python -m recipes.saved_models --only vae_mnist --limit 64"
    assert all(np.isfinite(value) for value in record["figures"].values())
    assert type(ReconstructionModel.from_preset(tmp_path / "vae_mnist")) is keras_vq.VAE
    for name in ("reconstructions.png", "samples.png"):
        assert (tmp_path / "vae_mnist" / name).stat().st_size > 10_000
    assert "| parameters | 228,194 |" in saved_models.readme(tmp_path)


@NEEDS_MNIST
def test_figure_on_real_mnist():
    record = presets.read_record(presets.named_presets()["vqvae_mnist"])
    images = keras_vq.data.load("mnist", "test[:500]").images
    model = keras_vq.VQVAE.from_preset("vqvae_mnist")
    error = np.square(np.clip(model.reconstruct(images), 0, 1) - images).mean()
    assert error == pytest.approx(record["figures"]["test MSE"], rel=0.15)


@pytest.mark.backend_free
def test_bundled_presets_of_a_class():
    assert set(keras_vq.VQVAE.presets) == {"vqvae_cifar10", "vqvae_mnist"}
    assert set(keras_vq.VAE.presets) == {"vae_mnist"}
    assert set(keras_vq.models.ReconstructionModel.presets) == {
        "vae_mnist",
        "vqvae_cifar10",
        "vqvae_mnist",
    }
    assert "VQ-VAE" in keras_vq.VQVAE.presets["vqvae_mnist"]["description"]
    with pytest.raises(ValueError, match="downloads are not supported"):
        keras_vq.VQVAE.from_preset("hf://someone/vqvae")
