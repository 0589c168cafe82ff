"""Tests of `keras-vq compress` and `keras-vq decompress`."""

import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

import keras_vq
from keras_vq._fingerprint import fingerprint
from keras_vq.codec import read_header
from keras_vq.priors import PixelCNNPrior
from keras_vq_cli import fingerprints, models
from keras_vq_cli.commands.decompress import file_names

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
    # Images of 8 x 8 and 20 x 30 pixels.
    assert f"{size:,} bytes, {8 * size / 664:.3f} bits per pixel" in result.out
    result = run("decompress", "mine.kvq", "-o", "seen", "--model", finished_run)
    assert result.out == "Written: 2 images in seen\n"
    assert png(tmp_path / "seen" / "a-2.png").shape == (20, 30)
    model = keras_vq.load_model(finished_run / "model.keras")
    original = png(images / "a.png")[None, ..., None].astype("float32") / 255
    made = np.round(np.clip(model.reconstruct(original)[0, ..., 0], 0, 1) * 255)
    assert np.abs(png(tmp_path / "seen" / "a.png") - made).max() <= 1


def test_with_a_prior(run, finished_run, images, tmp_path):
    model = keras_vq.load_model(finished_run / "model.keras")
    prior = PixelCNNPrior.for_model(model, hidden_dim=8, num_layers=1)
    prior.save(tmp_path / "prior.keras")
    options = ("--model", finished_run, "--prior", "prior.keras")
    assert run("compress", "mine", "-o", "mine.kvq", *options).code == 0
    assert read_header((tmp_path / "mine.kvq").read_bytes()).prior
    assert run("decompress", "mine.kvq", "-o", "seen", *options).code == 0
    (tmp_path / "prior.keras").unlink()
    result = run("decompress", "mine.kvq", "-o", "other", "--model", finished_run)
    assert result.code == 2
    assert "Select it with --prior" in result.err
    assert not (tmp_path / "other").exists()


def test_color_by_the_preset_that_comes_with_the_package(run, images, tmp_path):
    assert run("compress", "mine/inner/a.jpg", "-o", "a.kvq").code == 0
    # Not in a folder named like the file, which may contain the originals.
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
        assert "damaged or truncated" in result.err
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


def packed(finished_run, names, shapes=None):
    """Returns a compressed file of small images with the given names."""
    model = keras_vq.load_model(finished_run / "model.keras", compile=False)
    images = [np.zeros((*shape, 1), "float32") for shape in shapes or [(8, 8)] * len(names)]
    return keras_vq.codec.ImageCodec(model).compress(images, names)


def test_names_do_not_lead_out_of_the_folder(run, finished_run, images, tmp_path):
    names = ["../../up.png", "/etc/up.jpg", r"C:\up.bmp", "..."]
    (tmp_path / "names.kvq").write_bytes(packed(finished_run, names))
    assert run("decompress", "names.kvq", "-o", "seen", "--model", finished_run).code == 0
    written = {path.name for path in (tmp_path / "seen").iterdir()}
    assert written == {"up.png", "up-2.png", "up-3.png", "image.png"}
    assert not (tmp_path.parent / "up.png").exists()


NAMES = {
    "a.png": "a",
    "a.b.png": "a.b",
    "ä.png": "ä",
    "a\u0308.png": "ä",  # composed
    "": "image",
    ".png": "png",
    "..": "image",
    "../..": "image",
    "dir/..\\..\\x.png": "x",
    "C:x.png": "x",
    "\\\\host\\share\\x.png": "x",
    "x.png:stream": "x",
    "a\0b.png": "a_b",
    "a\x1b[31m\u202eb.png": "a_[31m_b",
    "a\n.png": "a_",
    'a<>|?*".png': "a______",
    "con.png": "_con",
    "NUL": "_NUL",
    "com1.x.png": "_com1.x",
    "lpt¹.png": "_lpt¹",
    "console.png": "console",
    " a . .png": "a",
    "\udcff": "_",
    "x" * 400 + ".png": "x" * 251,
    "é" * 200: "é" * 125,
}


@pytest.mark.parametrize("name", NAMES)
def test_names_become_safe_names_of_files(name):
    assert file_names((name,), 1) == [f"{NAMES[name]}.png"]


def test_no_two_names_are_one_on_any_disk():
    names = ("a.png", "A.jpg", "ä", "a\u0308", "ﬁ", "FI", "straße", "STRASSE", "a-2", "x" * 300)
    found = file_names((*names, "x" * 300, "a"), 12)
    assert found == [
        "a.png",
        "A-2.png",
        "ä.png",
        "ä-2.png",
        "ﬁ.png",
        "FI-2.png",
        "straße.png",
        "STRASSE-2.png",
        "a-2-2.png",
        "x" * 251 + ".png",
        "x" * 249 + "-2.png",
        "a-3.png",
    ]
    assert file_names((), 12)[::11] == ["01.png", "12.png"]


def test_many_equal_names_take_no_long_time():
    found = file_names(("a",) * 20_000 + tuple(f"a-{n}" for n in range(20_000)), 40_000)
    assert len({name.casefold() for name in found}) == 40_000


LONG = "x" * 251
ODD = ["a[/x].png", "[bold].png", ":smile:.png", "\x1b[31mred.png", "\u202egnp.png", f"{LONG}.png"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_go_there_and_back_and_are_shown_as_they_are(run, finished_run, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / name)
    model = ("--model", finished_run)
    result = run("compress", name, "-o", "a.kvq", *model)
    assert result.code == 0, result.err
    shown = name.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert shown in result.out.replace("\n", "")
    assert "\x1b[31" not in result.out
    assert read_header((tmp_path / "a.kvq").read_bytes()).names == (name.split("/")[-1],)
    assert run("decompress", "a.kvq", "-o", "seen", *model).code == 0
    assert len(list((tmp_path / "seen").glob("*.png"))) == 1


def test_names_that_are_no_utf8(run, finished_run, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", tmp_path / name)
    result = run("compress", name, "-o", "a.kvq", "--model", finished_run)
    assert result.code == 0, result.err
    assert "caf\\udce9.png" in result.out
    assert run("decompress", "a.kvq", "-o", "seen", "--model", finished_run).code == 0
    assert [path.name for path in (tmp_path / "seen").iterdir()] == ["caf\ufffd.png"]


def test_the_longest_name_of_a_compressed_file(run, finished_run, images, tmp_path):
    model = ("--model", finished_run)
    assert run("compress", "mine/a.png", "-o", f"{LONG}.kvq", *model).code == 0
    assert run("decompress", f"{LONG}.kvq", *model).code == 0
    (folder,) = tmp_path.glob("x*-decompressed")
    assert len(folder.name) == 255


def test_the_limit_of_pixels(run, finished_run, tmp_path):
    data = packed(finished_run, ["a", "b"], [(8, 8), (100, 100)])
    (tmp_path / "a.kvq").write_bytes(data)
    options = ("-o", "seen", "--model", finished_run)
    # 64 and 10,816 pixels after padding to tiles of 8 x 8.
    result = run("decompress", "a.kvq", *options, "--max-pixels", 10_879)
    assert result.code == 2
    assert "increase --max-pixels" in result.err
    assert not (tmp_path / "seen").exists()
    assert run("decompress", "a.kvq", *options, "--max-pixels", 10_880).code == 0


def test_the_run_that_made_a_file_is_found(run, finished_run, images, tmp_path):
    assert run("compress", "mine", "-o", "far/a.kvq", "--model", finished_run).code == 2
    (tmp_path / "far").mkdir()
    assert run("compress", "mine", "-o", "far/a.kvq", "--model", finished_run).code == 0
    result = run("decompress", "far/a.kvq", "-o", "seen")
    assert result.code == 2
    assert "Select it with --model" in result.err
    assert "recorded name is 'finished'" in result.err
    shutil.copytree(finished_run, tmp_path / "runs" / "other-name")
    result = run("decompress", "far/a.kvq", "-o", "seen")
    assert result.code == 0, result.err
    assert "Model: other-name" in result.err
    (tmp_path / "runs").rename(tmp_path / "far" / "runs")
    result = run("decompress", "far/a.kvq", "-o", "seen-2")
    assert result.code == 2, "only folders directly beside the file are looked at"
    shutil.move(tmp_path / "far" / "runs" / "other-name" / "model.keras", tmp_path / "far/m.keras")
    result = run("decompress", "far/a.kvq", "-o", "seen-2")
    assert result.code == 0, result.err
    assert "Model: m" in result.err


def test_the_prior_that_coded_a_file_is_found(run, finished_run, images, tmp_path):
    model = keras_vq.load_model(finished_run / "model.keras", compile=False)
    for name in ("one", "two"):
        PixelCNNPrior.for_model(model, hidden_dim=8, num_layers=1).save(tmp_path / f"{name}.keras")
    (tmp_path / "damaged.keras").write_bytes(b"PK")
    options = ("--model", finished_run)
    assert run("compress", "mine", "-o", "a.kvq", *options, "--prior", "two.keras").code == 0
    result = run("decompress", "a.kvq", "-o", "seen", *options)
    assert result.code == 0, result.err
    assert "Prior: two.keras" in result.err
    (tmp_path / "two.keras").unlink()
    result = run("decompress", "a.kvq", "-o", "other", *options)
    assert result.code == 2
    assert "Select it with --prior" in result.err
    assert "'two.keras'" in result.err


def test_a_fingerprint_that_lies_is_noticed(run, finished_run, images, tmp_path):
    """A stored fingerprint selects the file; that of the loaded weights is verified."""
    assert run("compress", "mine", "-o", "a.kvq", "--model", finished_run).code == 0
    wanted = read_header((tmp_path / "a.kvq").read_bytes()).model
    preset = models.presets()["vqvae_mnist"] / "model.keras"
    shutil.copy(preset, tmp_path / "liar.keras")
    with zipfile.ZipFile(tmp_path / "liar.keras", "a") as archive:
        archive.writestr("fingerprint.txt", wanted.hex())
    result = run("decompress", "a.kvq", "-o", "seen")
    assert result.code == 2
    assert "compressed with another model" in result.err


def test_presets_store_their_fingerprint():
    for name, folder in models.presets().items():
        model = keras_vq.load_model(folder / "model.keras", compile=False)
        assert fingerprints.stored(folder / "model.keras") == fingerprint(model), name


def test_what_is_no_fingerprint(tmp_path):
    for number, text in enumerate([b"", b"zz", b"\xff", b"0" * 2**21, b"[" * 10_000]):
        path = tmp_path / f"{number}.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("fingerprint.txt", text)
        assert fingerprints.stored(path) in (None, b"")
        folder = tmp_path / f"preset-{number}"
        folder.mkdir()
        (folder / "model.keras").write_bytes(b"")
        (folder / "preset.json").write_bytes(text)
        assert fingerprints.stored(folder / "model.keras") is None
    assert fingerprints.stored(tmp_path / "none.keras") is None
    assert fingerprints.stored(tmp_path) is None
