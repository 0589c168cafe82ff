"""Loading of image data sets by name or from a folder of image files."""

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

# These names refer to TFDS even if the working directory has a folder of the same name.
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
    """Loads an image data set by name or from a folder.

    The first load of a split decodes the images and stores the pixels in a cache folder. Later
    loads memory-map the cached array. TensorFlow is not required.

    `name` is one of:

    - `"digits"`: the 1,797 images of 8x8 pixels of scikit-learn's digits data set (the first 1,437
      for training). Available offline.
    - `"mnist"`, `"fashion_mnist"`, `"cifar10"`, or any other image data set of TensorFlow Datasets
      (TFDS), as `"name"`, `"name/config"` or `"name:version"`. TFDS downloads a data set that is
      not prepared in `data_dir`.
    - A folder of image files (png, jpg, jpeg, bmp, gif, webp, tif, tiff), with or without
      sub-folders. Write `"./mnist"` for a folder that has the name of a data set. Sub-folders
      train, test, validation and val are the splits. Without such sub-folders, a hash of the file
      name assigns one file in ten to "test"; the assignment does not change when files are added,
      except that of one file, moved to a split that would be empty. If all images of a split are
      in further sub-folders, these are the classes. Images have 1 channel if all are gray,
      otherwise 3. Transparent pixels become white, 16-bit gray values are scaled to 8 bits, and the
      first frame of an animation is used.

    Args:
        name: String or path, as described above.
        split: String. Name of a split, with an optional slice: `"train"`, `"train[:1000]"`,
            `"train[10%:20%]"`, `"test[-100:]"`. Defaults to `"train"`.
        data_dir: Path of the TFDS data folder. Defaults to `$TFDS_DATA_DIR`, then to
            `~/tensorflow_datasets`.
        cache_dir: Path of the folder for decoded data sets. Defaults to `$KERAS_VQ_CACHE`, then to
            the folder keras_vq in the cache folder of the platform (`$XDG_CACHE_HOME` or
            `~/.cache` on Linux).
        image_size: Tuple `(height, width)`. Resizes all images, with antialiasing and without
            keeping the aspect ratio. Required for images of different sizes. Defaults to None.
        skip_broken: Boolean. Whether to skip unreadable images, with a warning that lists them,
            instead of raising an error. Defaults to False.
        progress: Boolean. Whether to show a progress bar for work of more than two seconds.
            Defaults to True.
        max_pixels: Integer. Largest number of pixels of an image, checked before decoding. Defaults
            to 2**25 (33,554,432) pixels, which take about 500 MB; several images are decoded at a
            time. None leaves the limit of Pillow.

    Returns:
        `ImageDataset` with uint8 pixels of shape `(n, height, width, channels)`.

    Raises:
        ValueError: If `name` is neither a data set nor a folder, a data set can't be downloaded,
            the split does not exist, a slice is empty, an image can't be read, images have
            different sizes, or the cache folder is not writable.
        ImportError: If scikit-learn (for `"digits"`), tensorflow-datasets or Pillow is required
            but not installed.

    Example:
        >>> import keras_vq.data
        >>> digits = keras_vq.data.load("digits")
        >>> digits
        <ImageDataset digits, train: 1,437 images of 8x8x1, 10 classes>
        >>> digits.pixels.dtype, digits.images.dtype, digits.labels[:3].tolist()
        (dtype('uint8'), dtype('float32'), [0, 1, 2])
        >>> len(keras_vq.data.load("digits", "test[-100:]"))
        100
    """
    split_name(split)
    size = _checked_size(image_size)
    if max_pixels is not None:
        max_pixels = _validation.check_positive_integer("max_pixels", max_pixels)
    cache = cache_folder(cache_dir)
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise ValueError(f"`name` must be the name of a data set or a folder. Received: {name!r}")

    if name == "digits":
        wanted = check_split(split, DIGITS_SPLITS, "the data set 'digits'")
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
        skipped=entry.skipped,
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
            f"`image_size` must be (height, width), two positive integers. Received: {image_size!r}"
        )
    return int(image_size[0]), int(image_size[1])


def _looks_like_path(name: str) -> bool:
    has_separator = "/" in name or "\\" in name
    return name[0] in "./~\\" or (has_separator and not is_tfds_name(name))
