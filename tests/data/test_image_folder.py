"""Tests of image folders: file search, decoding, splits, labels and errors."""

import contextlib
import os
import socket
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import PIL.EpsImagePlugin
import PIL.Image
import PIL.ImageFile
import pytest

from keras_vq.data import load, read_image
from keras_vq.data.image_folder import list_images

pytestmark = pytest.mark.backend_free


def save(path, pixels, **options):
    """Writes an array or a PIL image and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(path, **options)
    return path


def gray(value, height=4, width=6):
    return np.full((height, width), value, "uint8")


def color(value, height=4, width=6):
    return np.tile(np.array([value, 0, 255], "uint8"), (height, width, 1))


@pytest.fixture
def train(tmp_path):
    """Returns a folder `train`; without it, a tenth of the files would be the test split."""
    return tmp_path / "set" / "train"


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "PNG"])
def test_kinds_of_files(train, ending):
    options = {"lossless": True} if ending == "webp" else {}
    save(train / f"a.{ending}", color(200), **options)
    pixels = load(train.parent).pixels
    assert pixels.shape == (1, 4, 6, 3)
    np.testing.assert_allclose(pixels[0, 0, 0], [200, 0, 255], atol=3)


def test_recursive_and_sorted_without_hidden_files_and_others(train):
    for value, name in enumerate(["a/c.png", "a/d/b.png", "b.png", "c.png"]):
        save(train / name, gray(value))
    save(train / ".hidden.png", gray(9))
    save(train / ".hidden" / "a.png", gray(9))
    (train / "notes.txt").write_text("not an image")
    assert load(train.parent).pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [str, Path])
def test_name_may_be_a_string_or_a_path(train, kind):
    save(train / "a.png", gray(1))
    dataset = load(kind(train.parent))
    assert (dataset.name, dataset.split, dataset.labels) == ("set", "train", None)


def test_home_folder_is_expanded(train, monkeypatch):
    save(train / "a.png", gray(1))
    monkeypatch.setenv("HOME", str(train.parent.parent))
    assert len(load("~/set")) == 1


def test_a_folder_with_the_name_of_a_set_is_reached_by_a_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "digits" / "train" / "a.png", gray(1))
    assert len(load("./digits")) == 1
    assert len(load("digits")) == 1437
    save(tmp_path / "photos" / "train" / "a.png", gray(1))
    assert len(load("photos")) == 1


# ---- colors


def test_all_gray_has_one_channel(train):
    save(train / "a.png", gray(7))
    save(train / "b.png", PIL.Image.new("1", (6, 4), 1))
    assert load(train.parent).pixels[:, 0, 0].tolist() == [[7], [255]]


def test_one_color_image_makes_three_channels(train):
    save(train / "a.png", gray(7))
    save(train / "b.png", color(200))
    assert load(train.parent).pixels[:, 0, 0].tolist() == [[7, 7, 7], [200, 0, 255]]


def test_a_color_image_in_another_split_counts(train):
    save(train / "a.png", gray(7))
    save(train.parent / "test" / "a.png", color(7))
    assert load(train.parent).image_shape == load(train.parent, "test").image_shape == (4, 6, 3)


@pytest.mark.parametrize(("palette", "channels"), [([9, 9, 9], 1), ([9, 0, 9], 3)])
def test_palette_images_are_gray_if_the_colors_in_use_are(train, palette, channels):
    image = PIL.Image.new("P", (6, 4), 0)
    image.putpalette([*palette, 1, 2, 3])
    save(train / "a.png", image)
    assert load(train.parent).pixels[0, 0, 0].tolist() == palette[:channels]


def test_transparency_becomes_white(train):
    half = np.tile(np.array([100, 0, 0, 128], "uint8"), (4, 6, 1))
    save(train / "a.png", PIL.Image.new("RGBA", (6, 4), (1, 2, 3, 0)))
    save(train / "b.png", half)
    first, second = load(train.parent).pixels[:, 0, 0].astype(int)
    assert first.tolist() == [255, 255, 255]
    np.testing.assert_allclose(second, 255 + (np.array([100, 0, 0]) - 255) * 128 / 255, atol=1)


def test_transparent_gray_stays_gray(train):
    save(train / "a.png", PIL.Image.new("LA", (6, 4), (10, 0)))
    save(train / "b.png", PIL.Image.new("LA", (6, 4), (10, 255)))
    save(train / "c.png", PIL.Image.new("L", (6, 4), 10), transparency=10)
    assert load(train.parent).pixels[:, 0, 0].tolist() == [[255], [10], [255]]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_gray_is_scaled_to_8_bits(train, ending):
    for name, value in zip("abcd", (0, 257 * 100, 257 * 100 + 129, 65535), strict=True):
        save(train / f"{name}.{ending}", np.full((4, 6), value, "uint16"))
    assert load(train.parent).pixels[:, 0, 0, 0].tolist() == [0, 100, 101, 255]


def test_first_frame_of_an_animation(train):
    frames = [PIL.Image.new("RGB", (6, 4), name) for name in ("red", "blue")]
    save(train / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert load(train.parent).pixels[0, 0, 0].tolist() == [255, 0, 0]


# ---- splits and classes


def test_sub_folders_are_splits(train):
    for number, split in enumerate(["train", "test", "validation"]):
        save(train.parent / split / "a.png", gray(number))
    for number, split in enumerate(["train", "test", "validation", "val"]):
        assert load(train.parent, split).pixels[0, 0, 0, 0] == min(number, 2)


def test_val_is_found_as_validation_too(train):
    save(train / "a.png", gray(0))
    save(train.parent / "val" / "a.png", gray(1))
    assert load(train.parent, "validation[:1]").pixels[0, 0, 0, 0] == 1


def test_missing_split_names_those_there(train):
    save(train / "a.png", gray(0))
    with pytest.raises(ValueError, match=r"must be one of 'train'. Received: split='test'"):
        load(train.parent, "test")


def test_images_outside_the_splits_are_mentioned(train):
    save(train / "a.png", gray(0))
    save(train.parent / "others" / "b.png", gray(0))
    with pytest.warns(UserWarning, match="Skipped .*1 in total.*'others/b.png'"):
        assert len(load(train.parent)) == 1


def test_without_split_folders_one_in_ten_is_test_and_stays_there(tmp_path):
    for number in range(300):
        (tmp_path / f"{number}.png").touch()
    files, splits = list_images(tmp_path)
    assert splits == ("train", "test")
    before = {file.name: file.split for file in files}
    assert 15 <= list(before.values()).count("test") <= 45
    for number in range(300, 400):
        (tmp_path / f"{number}.png").touch()
    after = {file.name: file.split for file in list_images(tmp_path)[0]}
    assert len(after) == 400
    assert before.items() <= after.items()
    # Fixed, because another hash would mix training and test images of earlier runs.
    assert [name for name in sorted(before) if before[name] == "test"][:4] == PINNED


PINNED = ["1.png", "129.png", "149.png", "163.png"]


def test_hashed_splits_hold_all_images(tmp_path):
    for number in range(40):
        save(tmp_path / f"{number}.png", gray(number))
    found = [load(tmp_path, split).pixels[:, 0, 0, 0].tolist() for split in ("train", "test")]
    assert sorted(found[0] + found[1]) == list(range(40))


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        # img07 has the smallest hash of these names, and 129 the largest of those below.
        ([f"img{number:02}.png" for number in range(30)], 29, ["img07.png"]),
        (PINNED, 1, ["1.png", "149.png", "163.png"]),
    ],
)
def test_no_hashed_split_of_several_images_is_empty(tmp_path, names, train, test):
    for name in names:
        save(tmp_path / name, gray(0))
    files = list_images(tmp_path)[0]
    assert [file.name for file in files if file.split == "test"] == test
    assert len(load(tmp_path)) == train
    assert len(load(tmp_path, "test")) == len(test)


def test_hashed_split_without_an_image(tmp_path):
    save(tmp_path / "a.png", gray(0))
    split = {"train": "test", "test": "train"}[list_images(tmp_path)[0][0].split]
    with pytest.raises(ValueError, match=f"The split '{split}' of .* is empty.* Received: split="):
        load(tmp_path, split)


def test_class_folders_give_labels(train):
    for name in ["dog/1.png", "cat/1.png", "cat/young/2.png"]:
        save(train / name, gray(0))
    save(train.parent / "test" / "bird" / "1.png", gray(0))
    save(train.parent / "test" / "dog" / "1.png", gray(0))
    train_set, test_set = load(train.parent), load(train.parent, "test")
    assert train_set.class_names == test_set.class_names == ("bird", "cat", "dog")
    assert train_set.labels.tolist() == [1, 1, 2]
    assert test_set.labels.tolist() == [0, 2]


def test_no_labels_if_an_image_lies_in_no_class_folder(train):
    save(train / "dog" / "1.png", gray(0))
    save(train / "2.png", gray(0))
    dataset = load(train.parent)
    assert dataset.labels is None
    assert dataset.class_names is None


# ---- sizes


def test_different_sizes_name_two_files(train):
    save(train / "a.png", gray(0, 4, 6))
    save(train / "b.png", gray(0, 4, 6))
    save(train / "c.png", gray(0, 5, 6))
    with pytest.raises(ValueError, match=r"Pass `image_size`.*a.png' of 4x6.*c.png' of 5x6"):
        load(train.parent)


def test_image_size_resizes(train):
    save(train / "a.png", gray(10, 4, 6))
    save(train / "b.png", color(200, 5, 6))
    dataset = load(train.parent, image_size=(8, 3))
    assert dataset.image_shape == (8, 3, 3)
    assert dataset.pixels[:, 0, 0].tolist() == [[10, 10, 10], [200, 0, 255]]


def test_resizing_is_antialiased(train):
    stripes = np.tile(np.array([0, 255], "uint8"), (64, 32))
    save(train / "a.png", stripes)
    pixels = load(train.parent, image_size=(8, 8)).pixels.astype(int)
    assert abs(pixels - 127).max() < 30  # nearest-neighbor interpolation would give 0 or 255


# ---- unreadable files


def truncated(path):
    noise = np.random.default_rng(0).integers(0, 256, (4, 6), dtype="uint8")
    content = save(path, noise).read_bytes()
    path.write_bytes(content[:-30])


def not_an_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no image at all")


def wrong_checksum(path):
    content = save(path, gray(0)).read_bytes()
    data = b"IDAT" + zlib.compress(b"short")
    chunk = struct.pack(">I", len(data) - 4) + data + b"1234"
    path.write_bytes(content[: content.index(b"IDAT") - 4] + chunk)


@pytest.mark.parametrize("spoil", [truncated, not_an_image, wrong_checksum])
def test_a_broken_file_is_named_or_skipped(train, spoil):
    for name in "acd":
        save(train / f"{name}.png", gray(ord(name)))
    spoil(train / "b.png")
    with pytest.raises(ValueError, match=r"skip_broken=True.* Received: '.*b\.png'"):
        load(train.parent)
    with pytest.warns(UserWarning, match=r"Skipped 1 of 4 images .*: .*b\.png \("):
        dataset = load(train.parent, skip_broken=True)
    assert dataset.pixels[:, 0, 0, 0].tolist() == [ord(name) for name in "acd"]


def test_cached_set_without_its_broken_file_is_no_answer_when_none_may_be_skipped(train):
    save(train / "x" / "a.png", gray(1))
    not_an_image(train / "y" / "b.png")
    with pytest.warns(UserWarning, match="1 of 2 images"):
        dataset = load(train.parent, skip_broken=True)
    assert dataset.labels.tolist() == [0]
    assert len(load(train.parent, skip_broken=True)) == 1  # from the cache, without a warning
    with pytest.raises(ValueError, match="skip_broken=True"):
        load(train.parent)


def test_only_broken_files(train):
    not_an_image(train / "a.png")
    with pytest.raises(
        ValueError, match=r"No image could be read \(1 in total\). Received: .*a.png"
    ):
        load(train.parent, skip_broken=True)


def test_broken_file_of_another_split_does_not_matter(train):
    save(train / "a.png", gray(1))
    not_an_image(train.parent / "test" / "a.png")
    assert len(load(train.parent)) == 1


def test_real_numbers_are_refused(train):
    save(train / "a.tif", np.zeros((4, 6), "float32"))
    with pytest.raises(ValueError, match=r"use 8 or 16 bits.* Received: .*a.tif"):
        load(train.parent)


def test_folder_errors(tmp_path):
    with pytest.raises(ValueError, match=r"must be an existing folder. Received: '.*/none'$"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match=r"must be an existing folder. Received: '.*/none'$"):
        load(str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"must contain images \(.png, .* Received: '.*/empty'$"):
        load(tmp_path / "empty")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"must contain images \(.png, .* Received: '.*/texts'$"):
        load(tmp_path / "texts")
    with pytest.raises(
        ValueError, match=r"must be a folder of images. Received: the file '.*/a.txt'"
    ):
        load(tmp_path / "texts" / "a.txt")


# ---- cache


def test_the_cache_notices_changed_files_names_and_times(train, cache_dir):
    time = 10**18
    path = save(train / "a.bmp", gray(1))
    os.utime(path, ns=(time, time))
    load(train.parent)
    load(train.parent)
    assert len(list(cache_dir.iterdir())) == 1

    size = path.stat().st_size
    save(path, gray(2))
    os.utime(path, ns=(time, time + 1000))
    assert path.stat().st_size == size
    assert load(train.parent).pixels[0, 0, 0, 0] == 2
    save(path, color(3))
    os.utime(path, ns=(time, time + 1000))
    assert path.stat().st_size != size
    assert load(train.parent).pixels[0, 0, 0, 0] == 3
    save(train / "b.bmp", color(4))
    assert len(load(train.parent)) == 2
    os.rename(train / "b.bmp", train / "0.bmp")
    assert load(train.parent).pixels[0, 0, 0, 0] == 4
    assert load(train.parent, image_size=(2, 2)).image_shape == (2, 2, 3)
    assert len(list(cache_dir.iterdir())) == 6


def test_a_renamed_class_is_a_changed_set(train):
    save(train / "cat" / "a.png", gray(1))
    assert load(train.parent).class_names == ("cat",)
    os.rename(train / "cat", train / "dog")
    assert load(train.parent).class_names == ("dog",)


def test_a_cached_folder_is_not_decoded(train, monkeypatch):
    save(train / "a.png", gray(1))
    load(train.parent)
    monkeypatch.setattr(PIL.Image, "open", None)
    assert load(train.parent).pixels[0, 0, 0, 0] == 1


# ---- untrusted files


def png(width, height, rows=b""):
    """Returns a 1-bit grayscale PNG file with a given size in the header."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def fifo(path):
    os.mkfifo(path)


def unix_socket(path):
    # Relative, because socket paths are limited to about 100 bytes.
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def postscript(path):
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\nshowpage\n")


STRANGE = {
    "a FIFO": (fifo, "not a regular file"),
    "a socket": (unix_socket, "not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a broken link": (lambda path: path.symlink_to("nowhere.png"), "No such file or directory"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "PostScript": (postscript, "not an image, or an unsupported format"),
    "many pixels": (
        lambda path: path.write_bytes(png(6000, 6000)),
        r"6000x6000 is more than 33,554,432 pixels; increase `max_pixels`",
    ),
    "more than Pillow reads": (
        lambda path: path.write_bytes(png(60_000, 60_000)),
        r"more than 33,554,432 pixels; increase `max_pixels`",
    ),
    "an empty file": (lambda path: path.write_bytes(b""), "not an image, or an unsupported format"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", STRANGE)
def test_files_that_are_no_images_are_named_or_left_out(train, kind, monkeypatch):
    # Pillow calls this function to start Ghostscript.
    monkeypatch.setattr(PIL.EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started"))
    save(train / "a.png", gray(1))
    make, problem = STRANGE[kind]
    path = train / "b.png"
    make(path)
    with pytest.raises(ValueError, match=rf"could not be read \(.*{problem}.*Received: '{path}'"):
        load(train.parent)
    with pytest.warns(UserWarning, match=rf"Skipped 1 of 2 images .*{path} \(.*{problem}"):
        assert len(load(train.parent, skip_broken=True)) == 1
    with pytest.raises(ValueError, match=rf"could not be read \(.*{problem}.*Received: '{path}'$"):
        read_image(path)


def test_limit_on_pixels(train):
    save(train / "a.png", gray(1, 4, 6))
    assert load(train.parent, max_pixels=24).image_shape == (4, 6, 1)
    with pytest.raises(ValueError, match="4x6 is more than 23 pixels"):
        load(train.parent, max_pixels=23)
    assert len(load(train.parent, max_pixels=None)) == 1
    assert read_image(train / "a.png", max_pixels=24).shape == (4, 6, 1)
    with pytest.raises(ValueError, match="4x6 is more than 23 pixels"):
        read_image(train / "a.png", max_pixels=23)
    with pytest.raises(ValueError, match="`max_pixels` must be"):
        read_image(train / "a.png", max_pixels=0)
    with pytest.raises(ValueError, match="`max_pixels` must be"):
        load(train.parent, max_pixels=0)


@pytest.mark.parametrize("ending", ["gif", "tif", "webp"])
def test_only_the_first_of_many_frames_is_decoded(train, ending, monkeypatch):
    frames = [PIL.Image.new("RGB", (6, 4), (200, 0, n)) for n in range(50)]
    options = {"lossless": True} if ending == "webp" else {}
    path = save(train / f"a.{ending}", frames[0], save_all=True, append_images=frames, **options)
    decoded = []
    original = PIL.ImageFile.ImageFile.seek
    monkeypatch.setattr(
        PIL.ImageFile.ImageFile, "seek", lambda *args: (decoded.append(args), original(*args))
    )
    np.testing.assert_allclose(read_image(path)[0, 0] * 255, [200, 0, 0], atol=3)
    assert decoded == []


@pytest.mark.parametrize("kind", ["text", "profile"])
def test_packed_chunks_are_not_unpacked_without_limit(train, kind):
    packed = zlib.compress(bytes(80 << 20), 9)
    data = b"Comment\0\0" + packed if kind == "text" else b"icc\0\0" + packed
    name = b"zTXt" if kind == "text" else b"iCCP"
    whole = png(6, 4, bytes(8))
    chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path = train / "a.png"
    train.mkdir(parents=True)
    path.write_bytes(whole[:33] + chunk + whole[33:])
    tracemalloc.start()
    with contextlib.suppress(ValueError):
        assert read_image(path).shape == (4, 6, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_a_folder_that_can_not_be_listed(train, monkeypatch):
    save(train / "a.png", gray(1))
    save(train / "shut" / "b.png", gray(2))
    walk = os.walk

    def refused(folder, onerror):
        # Root can list any folder.
        for parent, folders, names in walk(folder):
            if "shut" in folders:
                folders.remove("shut")
                onerror(PermissionError(13, "Permission denied", os.path.join(parent, "shut")))
            yield parent, folders, names

    monkeypatch.setattr(os, "walk", refused)
    with pytest.raises(ValueError, match=r"could not be read \(Permission denied\).*shut'"):
        load(train.parent)
    with pytest.warns(
        UserWarning, match=r"Skipped subfolders .*1 in total.*shut \(Permission denied"
    ):
        assert len(load(train.parent, skip_broken=True)) == 1
