"""Image data sets from folders of image files."""

from __future__ import annotations

import hashlib
import os
import warnings
from functools import partial
from pathlib import Path
from typing import NamedTuple

from keras_vq.data.cache import Entry, EntryWriter, fetch
from keras_vq.data.decoding import (
    MAX_PIXELS,
    Header,
    Picture,
    different_sizes,
    map_in_threads,
    note_broken,
    read_header,
    reason,
    write_decoded,
)
from keras_vq.data.progress import ProgressBar
from keras_vq.data.splits import check_split, split_name

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
SPLIT_FOLDERS = ("train", "test", "validation", "val")
# Previews and metadata of macOS archives, network storage and Windows.
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
ALIASES = {"validation": "val", "val": "validation"}


class ImageFile(NamedTuple):
    """Image file of a folder."""

    name: str  # path relative to the folder of the split, with "/"
    path: Path
    size: int  # bytes
    modified: int  # nanoseconds
    split: str


def load_folder(
    folder: Path,
    split: str,
    cache: Path,
    image_size: tuple[int, int] | None,
    skip_broken: bool,
    max_pixels: int | None,
    progress: bool,
) -> Entry:
    """Loads a full split of a folder of images through the cache.

    Args:
        folder: Path of the folder.
        split: String. Name of the split, whose slice is ignored.
        cache: Path of the cache folder.
        image_size: Tuple `(height, width)` to resize to, or None.
        skip_broken: Boolean. Whether to skip unreadable images with a warning.
        max_pixels: Integer. Largest number of pixels of an image, or None.
        progress: Boolean. Whether to show a progress bar.

    Raises:
        ValueError: If the folder does not exist, there are no images in the folder or the split, a
            file can't be read (unless `skip_broken`) or images have different sizes (unless
            `image_size`).
    """
    if not folder.exists():
        raise ValueError(f"`name` must be an existing folder. Received: {str(folder)!r}")
    if not folder.is_dir():
        raise ValueError(f"`name` must be a folder of images. Received: the file {str(folder)!r}")
    files, splits = list_images(folder, skip_broken)
    wanted = split_name(split)
    if wanted not in splits and ALIASES.get(wanted) in splits:
        wanted = ALIASES[wanted]
    else:
        check_split(split, splits, f"the folder {str(folder)!r}")
    if not any(file.split == wanted for file in files):
        raise ValueError(
            f"The split {wanted!r} of the folder {str(folder)!r} is empty: the folder has only "
            f"{len(files)} image{'s' if len(files) != 1 else ''}. Add images, or create the "
            f"subfolders train and test. Received: split={split!r}"
        )
    listing = "\n".join(f"{f.split}/{f.name} {f.size} {f.modified}" for f in files)
    key = {
        "kind": "folder",
        "name": str(folder.resolve()),
        "split": wanted,
        "files": hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest(),
        "image_size": image_size,
        **({} if max_pixels == MAX_PIXELS else {"max_pixels": max_pixels}),
    }

    def build(writer: EntryWriter) -> None:
        _decode(files, wanted, writer, image_size, skip_broken, max_pixels, progress)

    return fetch(cache, key, build, allow_skipped=skip_broken)


def list_images(folder: Path, skip_broken: bool = False) -> tuple[list[ImageFile], tuple[str, ...]]:
    """Lists the image files in a folder and its sub-folders.

    Sub-folders named train, test, validation or val are the splits. Without such sub-folders, a
    hash of the file name assigns one file in ten to "test" and the others to "train", so the
    assignment of a file does not change when files are added. If this leaves one of the two splits
    of several files empty, one file is moved to it. Hidden files and folders, and system folders,
    are ignored.

    Args:
        folder: Path of the folder.
        skip_broken: Boolean. Whether to skip unreadable sub-folders with a warning. Defaults to
            False.

    Returns:
        Tuple of a list of `ImageFile`, sorted by path, and the names of the splits.

    Raises:
        ValueError: If there are no images, or a sub-folder can't be read (unless `skip_broken`).
    """
    paths = _walk(folder, skip_broken)
    found = [(path.relative_to(folder).as_posix(), path) for path in paths]
    if not found:
        raise ValueError(
            f"The folder or its subfolders must contain images ({', '.join(SUFFIXES)}). "
            f"Received: {str(folder)!r}"
        )
    tops = {name.partition("/")[0] for name, _ in found if "/" in name}
    splits = tuple(name for name in SPLIT_FOLDERS if name in tops)
    hashed = {} if splits else _hashed_splits([name for name, _ in found])
    files = []
    outside = []
    for name, path in sorted(found):
        if splits:
            split, _, rest = name.partition("/")
            if split not in splits:
                outside.append(name)
                continue
            name = rest
        else:
            split = hashed[name]
        try:
            stat = path.stat()
            size, modified = stat.st_size, stat.st_mtime_ns
        except OSError:  # a broken link, which `read_header` reports
            size, modified = -1, -1
        files.append(ImageFile(name, path, size, modified, split))
    if outside:
        warnings.warn(
            f"Skipped images of {str(folder)!r} outside its subfolders {', '.join(splits)} "
            f"({len(outside)} in total), for example {outside[0]!r}",
            stacklevel=4,
        )
    return files, splits or ("train", "test")


def _walk(folder: Path, skip_broken: bool) -> list[Path]:
    unreadable: list[str] = []

    def note(error: OSError) -> None:
        if not skip_broken:
            raise ValueError(
                f"The folder could not be read ({reason(error)}). Change its permissions, or pass "
                f"`skip_broken=True` to skip it. Received: {str(error.filename)!r}"
            ) from error
        unreadable.append(f"{repr(str(error.filename))[1:-1]} ({reason(error)})")

    paths = []
    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [n for n in folders if not n.startswith(".") and n not in SYSTEM_FOLDERS]
        paths += [
            Path(parent, name)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    if unreadable:
        warnings.warn(
            f"Skipped subfolders that could not be read ({len(unreadable)} in total): "
            f"{'; '.join(unreadable)}",
            stacklevel=5,
        )
    return paths


def _hashed_splits(names: list[str]) -> dict[str, str]:
    """Returns the split of each file name, neither empty if there are two names or more."""
    hashes = {name: _hash(name) for name in names}
    splits = {name: "test" if hashes[name] % 10 == 0 else "train" for name in names}
    if len(names) > 1 and "test" not in splits.values():
        splits[min(names, key=hashes.__getitem__)] = "test"
    elif len(names) > 1 and "train" not in splits.values():
        splits[max(names, key=hashes.__getitem__)] = "train"
    return splits


def _hash(name: str) -> int:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")


def _decode(
    files: list[ImageFile],
    split: str,
    writer: EntryWriter,
    image_size: tuple[int, int] | None,
    skip_broken: bool,
    max_pixels: int | None,
    progress: bool,
) -> None:
    chosen = [file for file in files if file.split == split]
    # Read the headers of all splits, so that all splits have the same image shape.
    read = partial(read_header, max_pixels=max_pixels)
    with ProgressBar("Reading image sizes", len(files), progress) as bar:
        headers: list[Header] = []
        for header in map_in_threads(read, (file.path for file in files)):
            headers.append(header)
            bar.advance(1)
    broken: set[Path] = set()
    sized: list[tuple[ImageFile, Header]] = []
    for file, header in zip(files, headers, strict=True):
        if header.problem is None:
            sized.append((file, header))
            continue
        broken.add(file.path)
        if file.split == split:
            note_broken(str(file.path), header.problem, writer.skipped, skip_broken)
    if image_size is None:
        for file, header in sized:
            if header[:2] != sized[0][1][:2]:
                first_file, first = sized[0]
                raise different_sizes(str(first_file.path), first[:2], str(file.path), header[:2])

    label_of, writer.class_names = _labels(files, chosen)
    pictures = (
        Picture(str(file.path), file.path, label_of.get(file.name.partition("/")[0]))
        for file in chosen
        if file.path not in broken
    )
    with ProgressBar("Decoding images", len(chosen), progress) as bar:
        bar.advance(sum(file.path in broken for file in chosen))
        write_decoded(
            pictures,
            len(chosen),
            writer,
            channels=1 if all(header.is_gray for _, header in sized) else 3,
            image_size=image_size,
            skip_broken=skip_broken,
            max_pixels=max_pixels,
            bar=bar,
        )


def _labels(
    files: list[ImageFile], chosen: list[ImageFile]
) -> tuple[dict[str, int], tuple[str, ...] | None]:
    """Returns the label of each class folder, and the class names.

    There are no labels if any image of the split is outside a class folder.
    """
    if not all("/" in file.name for file in chosen):
        return {}, None
    # Use the classes of all splits, so that all splits have the same labels.
    names = sorted({file.name.partition("/")[0] for file in files if "/" in file.name})
    return {name: label for label, name in enumerate(names)}, tuple(names)
