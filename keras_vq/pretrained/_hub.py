"""Download of the files of a source from the Hugging Face Hub."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._source import (
    CONFIG_FILE,
    INDEX_SUFFIX,
    PICKLES,
    SUBFOLDERS,
    SUFFIX,
    WEIGHT_FILES,
    pickle_error,
    shards,
)

PREFIX = "hf://"


class _Address(NamedTuple):
    """Parts of `hf://owner/name[@revision][/path]`."""

    repository: str
    revision: str | None
    path: str


def local_path(source: str | os.PathLike[str]) -> Path:
    """Returns the path of a source, after a download if it is a repository of the Hub.

    Args:
        source: String or path; see `from_pretrained`.

    Raises:
        ConversionError: If the repository or its files can't be downloaded.
        ImportError: If the extra `hub` is not installed.
    """
    text = os.fspath(source)
    if not text.startswith(PREFIX):
        return Path(text)
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ImportError(
            f'{text!r} needs the package huggingface-hub. Install it: pip install "keras-vq[hub]"'
        ) from error
    address = _parsed(text)
    failures: tuple[Any, ...] = (
        OSError,
        huggingface_hub.errors.HFValidationError,
        # With the base class of all errors of the HTTP client, which depends on the version.
        *huggingface_hub.errors.HfHubHTTPError.__bases__,
    )
    try:
        return _downloaded(huggingface_hub, address)
    except failures as error:
        raise ConversionError(
            f"{text!r} could not be downloaded. Check its name, the connection, and for private "
            "repositories the token (`hf auth login` or the environment variable HF_TOKEN). "
            f"Received: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def _parsed(source: str) -> _Address:
    owner, _, rest = source.removeprefix(PREFIX).partition("/")
    name, _, path = rest.partition("/")
    name, _, revision = name.partition("@")
    parts = path.strip("/").split("/")
    if not owner or not name or ".." in parts:
        raise ConversionError(
            f"`source` must be hf://owner/name[@revision][/subfolder or file]. Received: {source!r}"
        )
    if Path(parts[-1]).suffix in PICKLES:
        raise pickle_error(Path(parts[-1]))
    return _Address(f"{owner}/{name}", revision or None, "/".join(parts))


def _downloaded(hub: Any, address: _Address) -> Path:
    """Downloads configurations, then the weights of one folder, and returns the local path."""

    def download(names: Sequence[str]) -> Path:
        folder = hub.snapshot_download(
            address.repository,
            revision=address.revision,
            # Exact names: a pattern such as `*` would match the large files of other folders.
            allow_patterns=[glob.escape(name) for name in names],
        )
        return Path(folder)

    below, _, file = address.path.rpartition("/")
    if file.endswith(SUFFIX):
        names = [f"{below}/{name}".lstrip("/") for name in (file, CONFIG_FILE)]
        return download(names) / address.path
    folders = [address.path] if address.path else ["", *SUBFOLDERS]
    small = (CONFIG_FILE, *(f"{name}{INDEX_SUFFIX}" for name in WEIGHT_FILES))
    root = download([f"{folder}/{name}".lstrip("/") for folder in folders for name in small])
    folder = next((each for each in folders if (root / each / CONFIG_FILE).is_file()), folders[0])
    indexes = (root / folder / f"{name}{INDEX_SUFFIX}" for name in WEIGHT_FILES)
    parts = [name for index in indexes if index.is_file() for name in shards(index)]
    weights = [f"{folder}/{name}".lstrip("/") for name in (*WEIGHT_FILES, *parts)]
    root = download(weights)
    if any((root / name).is_file() for name in weights):
        return root / folder
    files = hub.HfApi().list_repo_files(address.repository, revision=address.revision)
    beside = [Path(name) for name in files if Path(name).parent == Path(folder)]
    for path in beside:
        if path.suffix in PICKLES:
            raise pickle_error(path)
    raise ConversionError(
        f"The repository {address.repository} must have one of {', '.join(weights)}. Add the path "
        "of another safetensors file to `source`. "
        f"Received: {', '.join(path.name for path in beside[:10]) or 'no files'}"
    )
