"""Artefacts that are there whole or not at all: written beside, then renamed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_vq._files import unfinished_path


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A path beside `target` to write a file or folder to, renamed at the end of a good `with`.

    What lies at `target` is replaced only then; if the `with` fails it stays, and nothing of what
    was written does.

    Raises:
        OSError: If the folder can't be made or written to.
    """
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = unfinished_path(target)
    replaced = beside.with_name(f"{beside.name}_replaced")
    try:
        yield beside
        if target.is_dir():  # a folder can't be renamed onto one that holds something
            target.rename(replaced)
        try:
            beside.replace(target)
        except OSError:
            if replaced.exists():
                replaced.rename(target)
            raise
    finally:
        for path in (beside, replaced):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()


def next_version(folder: Path) -> Path:
    """Where the next version of a model goes in TensorFlow Serving's layout, NAME/VERSION."""
    paths = folder.iterdir() if folder.exists() else ()
    versions = [int(path.name) for path in paths if path.name.isdigit()]
    return folder / str(max(versions, default=0) + 1)
