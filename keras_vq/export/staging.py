"""Atomic writes of files and folders: a temporary path is renamed when it is complete."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_vq._files import errors_naming, unfinished_path


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yields a temporary path for a file or folder, and renames it to `target` after the `with`.

    If the `with` block raises an error, `target` is unchanged and the temporary path is removed.

    Args:
        target: Path of the file or folder, which is replaced if it exists. Missing parent folders
            are created.

    Raises:
        FileExistsError: If another process or thread created `target` meanwhile.
        OSError: If the parent folder can't be created or is not writable.
    """
    existed = target.exists()
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = unfinished_path(target)
    replaced = beside.with_name(f"{beside.name}_replaced")
    try:
        with errors_naming(target, beside):
            yield beside
            if target.exists() and not existed:
                raise FileExistsError(
                    errno.EEXIST, "Another process created the path during the export", str(target)
                )
            if target.is_dir():  # a folder can't replace a non-empty folder
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
            elif path.exists():  # to remove a missing file of a read-only disk is an error
                path.unlink()
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()


def next_version(folder: Path) -> Path:
    """Returns the next version folder, `folder/VERSION`, in the layout of TensorFlow Serving."""
    paths = folder.iterdir() if folder.exists() else ()
    versions = [int(path.name) for path in paths if path.name.isdigit()]
    return folder / str(max(versions, default=0) + 1)
