"""Tests of `keras-vq reconstruct` with image files."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import keras_vq

pytestmark = pytest.mark.backend_free


@pytest.fixture
def images(tmp_path):
    """Writes images of the model size, another size and in color, and a broken one in a folder."""
    folder = tmp_path / "mine"
    (folder / "inner").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (8, 8), "uint8")).save(folder / "a.png")
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), "uint8")).save(folder / "inner" / "b.jpg")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_files_and_folders(run, finished_run, images, tmp_path):
    result = run("reconstruct", finished_run, "mine", "mine/a.png")
    assert result.code == 0
    lines = result.out.splitlines()
    rows = [line for line in lines if "mine/" in line]
    assert [row.split("│")[1].strip() for row in rows] == [
        "mine/a.png",
        "mine/inner/b.jpg",
        "mine/a.png",
    ]
    assert "20 x 30" in rows[1]
    assert "1 of 3 images resized to 8 x 8" in result.err
    assert "1 of 3 images converted to gray" in result.err
    picture = tmp_path / "reconstructions-of-mine-and-1-more.png"
    assert result.out.endswith(f"Plot: {picture.name}\n")
    assert picture.exists()

    # The printed errors equal those of the model.
    model = keras_vq.load_model(finished_run / "model.keras")
    with Image.open(images / "a.png") as image:
        original = np.asarray(image, "float32")[None, ..., None] / 255
    error = np.square(np.clip(model.reconstruct(original), 0, 1) - original).mean()
    cells = [cell.strip() for cell in rows[0].split("│")[1:-1]]
    size = (images / "a.png").stat().st_size
    assert cells[1:3] == ["8 x 8", f"{error:.5f}"]
    assert float(cells[3]) == pytest.approx(-10 * np.log10(error), abs=0.01)
    assert cells[4:] == ["48", f"{size:,}"]


def test_pictures_are_numbered_and_the_named_one_is_replaced(run, finished_run, images, tmp_path):
    for _ in range(2):
        assert run("reconstruct", finished_run, "mine/a.png").code == 0
        assert run("reconstruct", finished_run, "mine/a.png", "--out", "seen.png").code == 0
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "reconstructions-of-a.png",
        "reconstructions-of-a-2.png",
        "seen.png",
    }


def test_a_broken_image_is_named(run, finished_run, images):
    (images / "broken.png").write_bytes(b"\x89PNG nothing")
    result = run("reconstruct", finished_run, images)
    assert result.code == 2
    assert "broken.png" in result.err
    assert "--skip-broken" in result.err
    result = run("reconstruct", finished_run, images, "--skip-broken")
    assert result.code == 0
    assert "Skipped: The image could not be read" in result.err
    assert "broken.png" in result.err
    result = run("reconstruct", finished_run, images / "broken.png", "--skip-broken")
    assert result.code == 2
    assert "Received: 1 unreadable file" in result.err


def test_files_that_are_no_images(run, finished_run, images):
    os.mkfifo(images / "pipe.png")
    (images / "gone.png").symlink_to("nowhere.png")
    (images / "folder.png").mkdir()
    result = run("reconstruct", finished_run, images, "--skip-broken")
    assert result.code == 0
    assert "not a regular file" in result.err
    assert "No such file or directory" in result.err
    assert "folder.png" not in result.err
    result = run("reconstruct", finished_run, images, "--max-pixels", 3)
    assert result.code == 2
    assert "more than 3 pixels; increase --max-pixels" in result.err.replace("\n", " ")


def test_mistakes(run, finished_run, images, tmp_path):
    def refused(*args):
        result = run("reconstruct", *args)
        assert result.code == 2
        return result.err

    (tmp_path / "empty").mkdir()
    assert "must be an existing file" in refused(finished_run, "nowhere.png")
    assert "must contain images" in refused(finished_run, "empty")
    assert "--out must end in" in refused(finished_run, "mine", "--out", "picture")
    assert "folder of --out must exist" in refused(
        finished_run, "mine", "--out", "nowhere/picture.png"
    )
    assert "without config.yaml" in refused("empty", "mine")
    copy = tmp_path / "copy"
    shutil.copytree(finished_run, copy)
    (copy / "model.keras").unlink()
    assert "has no model" in refused(copy, "mine")
