"""Tests of the callbacks that plot image grids during training."""

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vq
from keras_vq.callbacks import ReconstructionGrid, SampleGrid
from tests.needed import needed
from tests.test_plots import tiles

pytestmark = pytest.mark.backend_free


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((16, 8, 8, 1), "float32")


@pytest.fixture
def autoencoder():
    model = keras_vq.Autoencoder(*keras_vq.networks.convolutional((8, 8, 1), latent_dim=2))
    model.compile("adam")
    return model


def test_every_other_epoch_and_the_last(autoencoder, images, tmp_path):
    grid = ReconstructionGrid(images[:3], filepath=tmp_path / "in" / "{epoch:02d}.png", every=2)
    autoencoder.fit(images, epochs=5, verbose=0, callbacks=[grid])
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == [
        "02.png",
        "04.png",
        "05.png",
    ]


def test_what_is_drawn_is_what_the_model_makes(autoencoder, images, tmp_path):
    grid = ReconstructionGrid(images[:3], images[3:6], filepath=tmp_path / "picture.png")
    autoencoder.fit(images, verbose=0, callbacks=[grid])
    figure = grid.draw("after")
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "after"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["given", "made", "wanted"]
    made = np.clip(autoencoder.reconstruct(images[:3]), 0, 1)
    drawn = tiles(figure, (8, 8))[..., :1]
    np.testing.assert_allclose(drawn, [images[:3], made, images[3:6]], atol=1 / 255)


def test_samples_are_those_of_one_seed(images, tmp_path):
    maps = keras_vq.networks.convolutional((8, 8, 1), latent_dim=None, output_activation="sigmoid")
    model = keras_vq.VAE(*keras_vq.networks.flat_latent(maps, None), latent_dim=2)
    model.compile("adam")
    grid = SampleGrid(4, filepath=tmp_path / "new.png")
    model.fit(images, verbose=0, callbacks=[grid])
    made = np.clip(model.generate(4, seed=0), 0, 1)
    drawn = tiles(grid.draw(""), (8, 8))[0, ..., :1]
    np.testing.assert_allclose(drawn, made, atol=1 / 255)


def test_tensorboard_shows_the_pictures_of_all_epochs(autoencoder, images, tmp_path):
    needed("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    grid = ReconstructionGrid(images[:3], log_dir=tmp_path)
    autoencoder.fit(images, epochs=2, verbose=0, callbacks=[grid])
    found = EventAccumulator(str(tmp_path)).Reload().Images("reconstructions")
    assert [picture.step for picture in found] == [0, 1]
    (tmp_path / "seen.png").write_bytes(found[1].encoded_image_string)
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.size == (found[1].width, found[1].height)


def test_models_that_generate_nothing(autoencoder, images, tmp_path):
    with pytest.raises(ValueError, match="must be a VAE, or a model that generates with `prior`"):
        autoencoder.fit(images, verbose=0, callbacks=[SampleGrid(filepath=tmp_path / "new.png")])


def test_early_stopping_leaves_a_picture_of_the_last_epoch(autoencoder, images, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    grid = ReconstructionGrid(images[:3], filepath=tmp_path / "{epoch}.png", every=10)
    autoencoder.fit(images, epochs=5, verbose=0, callbacks=[grid, Stop()])
    assert [path.name for path in tmp_path.iterdir()] == ["2.png"]


@pytest.mark.parametrize("name", ["picture", "picture.zip", "{name}.png", "{.png"])
def test_names_that_cannot_be_written_are_refused_at_once(images, name):
    with pytest.raises(ValueError, match=r"must end in \.png"):
        ReconstructionGrid(images, filepath=name)


def test_outside_a_notebook_a_place_is_needed(images):
    with pytest.raises(ValueError, match="`filepath` or `log_dir`"):
        ReconstructionGrid(images)
