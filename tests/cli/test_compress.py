"""Files that a person compresses, and gets back."""

import numpy as np
import pytest
from PIL import Image

import keras_vq
from keras_vq.codec import read_header
from keras_vq.priors import PixelCNNPrior

pytestmark = pytest.mark.backend_free


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "mine"
    (folder / "inner").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (8, 8), "uint8")).save(folder / "a.png")
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), "uint8")).save(folder / "inner" / "a.jpg")
    return folder


def png(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_images_come_back_as_the_model_makes_them(run, finished_run, images, tmp_path):
    result = run("compress", "mine", "-o", "mine.kvq", "--model", finished_run)
    assert result.code == 0, result.err
    size = (tmp_path / "mine.kvq").stat().st_size
    # 8 x 8 pixels, and 20 x 30.
    assert f"{size:,} bytes, {8 * size / 664:.3f} bits a pixel" in result.out
    result = run("decompress", "mine.kvq", "-o", "seen", "--model", finished_run)
    assert result.out == "Written: 2 images in seen\n"
    assert png(tmp_path / "seen" / "a-2.png").shape == (20, 30)
    model = keras_vq.load_model(finished_run / "model.keras")
    original = png(images / "a.png")[None, ..., None].astype("float32") / 255
    made = np.round(np.clip(model.reconstruct(original)[0, ..., 0], 0, 1) * 255)
    assert np.abs(png(tmp_path / "seen" / "a.png") - made).max() <= 1


def test_with_a_prior(run, finished_run, images, tmp_path):
    model = keras_vq.load_model(finished_run / "model.keras")
    prior = PixelCNNPrior.for_codes_of(model, dim=8, depth=1)
    prior.save(tmp_path / "prior.keras")
    options = ("--model", finished_run, "--prior", "prior.keras")
    assert run("compress", "mine", "-o", "mine.kvq", *options).code == 0
    assert read_header((tmp_path / "mine.kvq").read_bytes()).prior
    assert run("decompress", "mine.kvq", "-o", "seen", *options).code == 0
    result = run("decompress", "mine.kvq", "-o", "other", "--model", finished_run)
    assert result.code == 2
    assert "with a prior" in result.err
    assert not (tmp_path / "other").exists()


def test_colour_by_the_preset_that_comes_with_the_package(run, images, tmp_path):
    assert run("compress", "mine/inner/a.jpg", "-o", "a.kvq").code == 0
    # Not in a folder of the file's name, which may be that of the originals.
    assert run("decompress", "a.kvq").code == 0
    assert png(tmp_path / "a-decompressed" / "a.png").shape == (20, 30, 3)


def test_damaged_files_are_noticed(run, finished_run, images, tmp_path):
    assert run("compress", "mine", "-o", "mine.kvq", "--model", finished_run).code == 0
    data = bytearray((tmp_path / "mine.kvq").read_bytes())
    (tmp_path / "short.kvq").write_bytes(data[:-1])
    data[20] ^= 1
    (tmp_path / "flipped.kvq").write_bytes(data)
    for name in ("short.kvq", "flipped.kvq"):
        result = run("decompress", name, "-o", "seen", "--model", finished_run)
        assert result.code == 2
        assert "changed or cut short" in result.err
        assert not (tmp_path / "seen").exists()


def test_nothing_is_replaced_unasked(run, finished_run, images, tmp_path):
    compress = ("compress", "mine/a.png", "-o", "a.kvq", "--model", finished_run)
    decompress = ("decompress", "a.kvq", "-o", "mine", "--model", finished_run)
    assert run(*compress).code == 0
    before = png(images / "a.png")
    for command in (compress, decompress):
        result = run(*command)
        assert result.code == 2
        assert "--overwrite" in result.err
    assert np.array_equal(png(images / "a.png"), before)
    for command in (compress, decompress):
        assert run(*command, "--overwrite").code == 0


def test_names_do_not_lead_out_of_the_folder(run, finished_run, images, tmp_path):
    model = keras_vq.load_model(finished_run / "model.keras")
    data = keras_vq.codec.ImageCodec(model).compress(
        np.zeros((4, 8, 8, 1), "float32"), ["../../up.png", "/etc/up.jpg", r"C:\up.bmp", "..."]
    )
    (tmp_path / "names.kvq").write_bytes(data)
    assert run("decompress", "names.kvq", "-o", "seen", "--model", finished_run).code == 0
    written = {path.name for path in (tmp_path / "seen").iterdir()}
    assert written == {"up.png", "up-2.png", "up-3.png", "image.png"}
    assert not (tmp_path.parent / "up.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compress", "mine", "-o", "mine.zip"), "must end in .kvq"),
        (("compress", "mine", "-o", "no/mine.kvq"), "no folder no"),
        (("compress", "none.png", "-o", "mine.kvq"), "no such file"),
        (("compress", "mine", "-o", "mine.kvq", "--model", "none"), "vqvae_cifar10"),
        (("compress", "mine", "-o", "mine.kvq", "--prior", "none"), ".keras file of a prior"),
        (("decompress", "none.kvq"), "no such file"),
        (("decompress", "mine/a.png"), "no .kvq file"),
    ],
)
def test_mistakes(run, images, tmp_path, arguments, message):
    result = run(*arguments)
    assert result.code == 2
    assert message in result.err.replace("\n", " ")
    assert not (tmp_path / "mine.kvq").exists()
