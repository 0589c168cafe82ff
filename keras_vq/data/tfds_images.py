"""Image data sets of TensorFlow Datasets (TFDS), read without TensorFlow."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import struct
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_vq._spelling import did_you_mean
from keras_vq.data.cache import Entry, EntryWriter, fetch
from keras_vq.data.decoding import MAX_PIXELS, Picture, write_decoded
from keras_vq.data.progress import ProgressBar
from keras_vq.data.splits import check_split

_NAME = re.compile(r"(?P<name>[A-Za-z]\w*)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
RECORDS_AT_ONCE = 1024


def is_tfds_name(name: str) -> bool:
    """Checks the syntax of a TFDS name: "name", "name/config" or "name:1.0.0"."""
    return _NAME.fullmatch(name) is not None


def tfds_folder(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Returns the TFDS data folder.

    Args:
        data_dir: Path of the folder. Defaults to `$TFDS_DATA_DIR`, then to `~/tensorflow_datasets`.
    """
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def find_prepared(name: str, data_dir: Path) -> Path | None:
    """Returns the folder of the newest prepared version of a data set, or None.

    Args:
        name: String. TFDS name, with an optional configuration and version.
        data_dir: Path of the TFDS data folder.

    Raises:
        ValueError: If several configurations are prepared, and neither the name nor the metadata of
            TFDS selects one.
    """
    match = _NAME.fullmatch(name)
    assert match is not None, name
    top = data_dir / match["name"]
    if match["config"]:
        return _newest(top / match["config"], match["version"])
    found = _newest(top, match["version"])
    if found is not None or not top.is_dir():
        return found
    configs = {
        path.name: version
        for path in sorted(top.iterdir())
        if (version := _newest(path, match["version"])) is not None
    }
    if len(configs) <= 1:
        return next(iter(configs.values()), None)
    metadata = top / ".config" / "metadata.json"
    default = None
    if metadata.is_file():
        default = json.loads(metadata.read_text(encoding="utf-8")).get("default_config_name")
    if default not in configs:
        raise ValueError(
            f"`name` must include a configuration because several are prepared: "
            f"{', '.join(match['name'] + '/' + config for config in configs)}. Received: {name!r}"
        )
    return configs[default]


def prepare(name: str, data_dir: Path) -> Path:
    """Downloads and prepares a data set with TFDS, and returns its folder.

    Raises:
        ValueError: If there is no data set of that name, it has no images, or TFDS can't prepare
            it.
    """
    tfds = _import_tfds()
    match = _NAME.fullmatch(name)
    known = tfds.list_builders(with_community_datasets=False)
    if match is None or match["name"] not in known:
        raise unknown_name(name, data_dir)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        _image_feature(builder.info.features, name)
        builder.download_and_prepare(file_format="array_record")
    except NoImagesError:
        raise
    except Exception as error:
        command = (
            f"import tensorflow_datasets as tfds; tfds.builder({name!r}, "
            f"data_dir={str(data_dir)!r}).download_and_prepare(file_format='array_record')"
        )
        raise ValueError(
            f"The data set {name!r} is not prepared in {str(data_dir)!r}, and TFDS could not "
            f"download and prepare it there ({type(error).__name__}: "
            f"{(str(error).splitlines() or [''])[0][:300]}). If it is prepared in another folder, "
            "pass the folder as `data_dir` or set TFDS_DATA_DIR. To prepare it with a network "
            f'connection, run: python -c "{command}". Received: {name!r}'
        ) from error
    return Path(builder.data_dir)


def unknown_name(name: str, data_dir: Path) -> ValueError:
    """Returns the error for an unknown name, with suggestions of similar names."""
    names = {"digits", "mnist", "fashion_mnist", "cifar10"}
    if data_dir.is_dir():
        names.update(path.name for path in data_dir.iterdir() if path.is_dir())
    with contextlib.suppress(ImportError):
        names.update(_import_tfds().list_builders(with_community_datasets=False))
    return ValueError(
        '`name` must be "digits", an image data set of TFDS such as "mnist" or "cifar10", or an '
        f"existing folder of image files.{did_you_mean(name, names)} Received: {name!r}"
    )


def load_prepared(
    name: str,
    folder: Path,
    split: str,
    cache: Path,
    image_size: tuple[int, int] | None,
    skip_broken: bool,
    max_pixels: int | None,
    progress: bool,
) -> Entry:
    """Loads a full split of a prepared data set through the cache.

    Args:
        name: String. TFDS name of the data set.
        folder: Path of the prepared version.
        split: String. Name of the split, whose slice is ignored.
        cache: Path of the cache folder.
        image_size: Tuple `(height, width)` to resize to, or None.
        skip_broken: Boolean. Whether to skip unreadable images with a warning.
        max_pixels: Integer. Largest number of pixels of an image, or None.
        progress: Boolean. Whether to show a progress bar.

    Raises:
        ValueError: If the split does not exist, there are no images, an image can't be read (unless
            `skip_broken`) or images have different sizes (unless `image_size`).
    """
    info = (folder / "dataset_info.json").read_bytes()
    splits = {part["name"]: part for part in json.loads(info).get("splits", [])}
    wanted = check_split(split, tuple(splits), f"the data set {name!r}")
    key = {
        "kind": "tfds",
        "name": name.partition(":")[0].replace("/", "-"),
        "version": folder.name,
        "split": wanted,
        # Distinguishes data sets of one name and version that were prepared differently.
        "info": hashlib.sha256(info).hexdigest(),
        "image_size": image_size,
        **({} if max_pixels == MAX_PIXELS else {"max_pixels": max_pixels}),
    }

    def build(writer: EntryWriter) -> None:
        _decode(name, folder, wanted, writer, image_size, skip_broken, max_pixels, progress)

    return fetch(cache, key, build, allow_skipped=skip_broken)


class NoImagesError(ValueError):
    """Error for a data set without an image feature."""


def _import_tfds() -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "Loading a data set by name requires TensorFlow Datasets (TensorFlow itself is not "
            "required). Install with: pip install tensorflow-datasets array_record"
        ) from error
    return tfds


def _newest(folder: Path, version: str | None) -> Path | None:
    if not folder.is_dir():
        return None
    versions = [
        path
        for path in folder.iterdir()
        if _VERSION.fullmatch(path.name)
        and version in (None, path.name)
        and (path / "dataset_info.json").is_file()
    ]
    return max(versions, key=lambda path: [int(n) for n in path.name.split(".")], default=None)


def _image_feature(features: Any, name: str) -> str:
    tfds = _import_tfds()
    images = [
        key
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image)
        and not isinstance(feature, tfds.features.LabeledImage)
    ]
    if not images:
        raise NoImagesError(
            f"`name` must be a data set with an image feature. Received: {name!r} with the "
            f"features {', '.join(features)}"
        )
    return "image" if "image" in images else images[0]


def _label_feature(features: Any) -> str | None:
    tfds = _import_tfds()
    labels = [key for key, value in features.items() if isinstance(value, tfds.features.ClassLabel)]
    return "label" if "label" in labels else next(iter(labels), None)


def _decode(
    name: str,
    folder: Path,
    split: str,
    writer: EntryWriter,
    image_size: tuple[int, int] | None,
    skip_broken: bool,
    max_pixels: int | None,
    progress: bool,
) -> None:
    tfds = _import_tfds()
    with warnings.catch_warnings():
        # TFDS 4.9.10 uses a deprecated function of protobuf 6.33, which raises a TypeError if
        # warnings are errors.
        warnings.filterwarnings("ignore", r"label\(\) is deprecated", DeprecationWarning)
        builder = tfds.builder_from_directory(folder)
    features = builder.info.features
    image_key = _image_feature(features, name)
    label_key = _label_feature(features)
    decoders = {image_key: tfds.decode.SkipDecoding()}
    total = builder.info.splits[split].num_examples

    examples: Iterable[Any]
    if builder.info.file_format is not None and builder.info.file_format.value == "array_record":
        source = builder.as_data_source(split=split, decoders=decoders)
        examples = _in_blocks(source, total)
    else:
        # TFDS needs TensorFlow for other formats, so read tfrecord files directly.
        examples = (
            features.deserialize_example_np(record, decoders=decoders)
            for path in builder.info.splits[split].filepaths
            for record in read_tfrecord(Path(path))
        )

    def pictures() -> Iterator[Picture]:
        for number, example in enumerate(examples):
            label = None if label_key is None else int(example[label_key])
            yield Picture(f"image {number} of {name}, {split}", bytes(example[image_key]), label)

    if label_key is not None:
        writer.class_names = tuple(features[label_key].names)
    with ProgressBar(f"Decoding {name}, {split}", total, progress) as bar:
        write_decoded(
            pictures(),
            total,
            writer,
            channels=1 if features[image_key].shape[-1] == 1 else 3,
            image_size=image_size,
            skip_broken=skip_broken,
            max_pixels=max_pixels,
            bar=bar,
        )


def _in_blocks(source: Any, total: int) -> Iterator[Any]:
    for start in range(0, total, RECORDS_AT_ONCE):
        yield from source.__getitems__(list(range(start, min(start + RECORDS_AT_ONCE, total))))


def read_tfrecord(path: Path) -> Iterator[bytes]:
    """Yields the records of a tfrecord file.

    A record consists of its length (8 bytes, little-endian), a checksum of the length (4 bytes),
    the data and a checksum of the data (4 bytes). Checksums are not verified.

    Raises:
        ValueError: If the file ends within a record.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        while head := file.read(12):
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else size
            if file.tell() + length + 4 > size:
                raise ValueError(
                    "The TFRecord file is truncated. Prepare the data set again. "
                    f"Received: {str(path)!r}"
                )
            yield file.read(length)
            file.seek(4, os.SEEK_CUR)
