"""Image sets by name, or from a folder of image files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_vq import _validation
from keras_vq.data.cache import Entry, EntryWriter, cache_folder, fetch
from keras_vq.data.decoding import MAX_PIXELS, resize
from keras_vq.data.digits import SPLITS as DIGITS_SPLITS
from keras_vq.data.digits import read_digits
from keras_vq.data.image_dataset import ImageDataset
from keras_vq.data.image_folder import load_folder
from keras_vq.data.splits import check_split, split_name, split_range
from keras_vq.data.tfds_images import (
    find_prepared,
    is_tfds_name,
    load_prepared,
    prepare,
    tfds_folder,
    unknown_name,
)

# These names mean the sets even where a folder of the same name lies in the working directory.
COMMON_NAMES = ("mnist", "fashion_mnist", "cifar10")


def load(
    name: str | os.PathLike[str],
    split: str = "train",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    image_size: Sequence[int] | None = None,
    skip_broken: bool = False,
    progress: bool = True,
    max_pixels: int | None = MAX_PIXELS,
) -> ImageDataset:
    """An image set by name, or the images of a folder.

    The first load of a split decodes it and keeps the decoded pixels in a cache folder; later
    loads open them from there at once, as a memory-mapped array. TensorFlow is not needed.

    `name` is one of:

    - `"digits"`: the 1,797 digits of 8x8 pixels that come with scikit-learn (the first 1,437 for
      training). Needs no network.
    - `"mnist"`, `"fashion_mnist"`, `"cifar10"`, or any other image set of TensorFlow Datasets
      (TFDS), as `"set"`, `"set/config"` or `"set:version"`. A set that is not prepared in
      `data_dir` yet is downloaded by TFDS.
    - A folder of image files (png, jpg, jpeg, bmp, gif, webp, tif, tiff), which may have
      sub-folders. Write `"./mnist"` for a folder that has the name of a set. Sub-folders train,
      test, validation and val are its splits; where it has none, one file in ten is in "test", by
      a hash of its name, and stays there when files are added. If all images of a split lie in
      further sub-folders, these are the classes. The images have 1 channel if all are grey,
      else 3. Transparent pixels become white, 16-bit grey is scaled to 8 bits, and of an
      animation the first frame is read.

    Example:
        >>> import keras_vq.data
        >>> digits = keras_vq.data.load("digits")
        >>> digits
        <ImageDataset digits, train: 1,437 images of 8x8x1, 10 classes>
        >>> digits.pixels.dtype, digits.images.dtype, digits.labels[:3].tolist()
        (dtype('uint8'), dtype('float32'), [0, 1, 2])
        >>> len(keras_vq.data.load("digits", "test[-100:]"))
        100

    Args:
        name: which images; see above.
        split: `"train"`, `"test"` or another split of the set, with a slice if wanted:
            `"train[:1000]"`, `"train[10%:20%]"`, `"test[-100:]"`.
        data_dir: where TFDS keeps its sets. Defaults to the environment variable TFDS_DATA_DIR,
            then to ~/tensorflow_datasets.
        cache_dir: where decoded sets are kept. Defaults to the environment variable
            KERAS_VQ_CACHE, then to keras_vq in the platform's cache folder
            ($XDG_CACHE_HOME or ~/.cache).
        image_size: (height, width) to which all images are resized, antialiased, whatever their
            aspect ratio. Needed where the images differ in size.
        skip_broken: whether to leave out images that can't be read, with a warning that lists
            them, instead of raising an error.
        progress: whether work of more than two seconds shows a progress bar.
        max_pixels: largest number of pixels of an image, checked before it is decoded. Defaults
            to 33,554,432, which take about 500 MB; several images are decoded at a time. None
            leaves only Pillow's own limit.

    Returns:
        An `ImageDataset`, whose pixels are uint8, shape (n, height, width, channels), 0 to 255.

    Raises:
        ValueError: for a name that is neither a set nor a folder, a set that can't be
            downloaded, a split that the set does not have, a slice that selects nothing, a
            broken image, images of different sizes, or a cache folder that can't be written to.
        ImportError: where scikit-learn (for "digits"), tensorflow-datasets or pillow is needed
            and not installed.
    """
    split_name(split)
    size = _checked_size(image_size)
    if max_pixels is not None:
        max_pixels = _validation.check_positive_integer("max_pixels", max_pixels)
    cache = cache_folder(cache_dir)
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise ValueError(f"name must be the name of a set or a folder. Received: {name!r}")

    if name == "digits":
        wanted = check_split(split, DIGITS_SPLITS, "The image set 'digits'")
        key = {"kind": "digits", "name": name, "split": wanted, "image_size": size}
        entry = fetch(cache, key, lambda writer: _write_digits(writer, wanted, size))
        return _dataset(entry, name, split)

    options = (split, cache, size, skip_broken, max_pixels, progress)
    tfds_dir = tfds_folder(data_dir)
    if isinstance(name, str) and is_tfds_name(name):
        prepared = find_prepared(name, tfds_dir)
        if prepared is None and (name.partition(":")[0] in COMMON_NAMES or not Path(name).exists()):
            prepared = prepare(name, tfds_dir)
        if prepared is not None:
            return _dataset(load_prepared(name, prepared, *options), name, split)

    folder = Path(name).expanduser()
    if isinstance(name, str) and not folder.exists() and not _looks_like_path(name):
        raise unknown_name(name, tfds_dir)
    return _dataset(load_folder(folder, *options), folder.resolve().name, split)


def _dataset(entry: Entry, name: str, split: str) -> ImageDataset:
    selected = split_range(split, len(entry.pixels))
    part = slice(selected.start, selected.stop)
    return ImageDataset(
        entry.pixels[part],
        labels=None if entry.labels is None else entry.labels[part],
        class_names=entry.class_names,
        name=name,
        split=split,
    )


def _write_digits(writer: EntryWriter, split: str, image_size: tuple[int, int] | None) -> None:
    pixels, labels, writer.class_names = read_digits(split)
    if image_size is not None:
        pixels = np.stack([resize(image, image_size) for image in pixels])
    writer.append(pixels, labels.tolist())


def _checked_size(image_size: Sequence[int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    if (
        not isinstance(image_size, (tuple, list))
        or len(image_size) != 2
        or not all(isinstance(n, (int, np.integer)) and n > 0 for n in image_size)
    ):
        raise ValueError(
            f"image_size must be (height, width), two whole numbers above 0. "
            f"Received: {image_size!r}"
        )
    return int(image_size[0]), int(image_size[1])


def _looks_like_path(name: str) -> bool:
    return name[0] in "./~\\" or not is_tfds_name(name)
