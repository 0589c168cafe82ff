"""Loading of models from `.keras` files, with limits that are checked before unpacking."""

import contextlib
import io
import math
import os
import threading
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import h5py
import keras

from keras_vq import _archives
from keras_vq._non_finite import NonFiniteWeightsWarning, non_finite_weights

_CONFIG = "config.json"
_METADATA = "metadata.json"
_WEIGHTS = "model.weights.h5"
_MOST_WORDS = 600
# A configuration may declare at most twice the weights of the file, plus these numbers.
_MORE_VALUES = 4_000_000
_MORE_WEIGHTS = 100
_CHANGES_KERAS = threading.RLock()


class ModelFileError(ValueError):
    """Error for a `.keras` file that is damaged, too large, or has unknown classes.

    Example:
        >>> import keras_vq
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "model.keras")
        ...     size = path.write_bytes(b"damaged")
        ...     try:
        ...         keras_vq.load_model(path)
        ...     except keras_vq.models.ModelFileError:
        ...         print("rejected")
        rejected
    """


class Weights(NamedTuple):
    """Number of weights and total number of their values."""

    weights: int
    values: int


def load_model(path: str | os.PathLike[str], **kwargs: Any) -> keras.Model:
    """Loads a model from a `.keras` file that any backend saved.

    The file may come from an untrusted source: sizes are checked before unpacking, weights that the
    configuration declares but the file does not contain are rejected before they are allocated, and
    `safe_mode` is on unless it is turned off.

    Args:
        path: String or path. The `.keras` file.
        **kwargs: Arguments of `keras.saving.load_model`.

    Returns:
        The model, compiled as it was when saved.

    Raises:
        ModelFileError: If the file does not exist or cannot be loaded, or a weight contains NaN or
            infinity. It is a subclass of `ValueError`.

    Example:
        >>> import keras_vq
        >>> from tempfile import TemporaryDirectory
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> with TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.keras")
        ...     keras_vq.load_model(f"{folder}/model.keras").codebook_sizes
        (16,)
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ModelFileError(f"`path` must be an existing `.keras` file. Received: {path!r}")
    held = _checked(path)
    try:
        with limited_weights(held) as problems, warnings.catch_warnings():
            # A `ModelFileError` is raised below.
            warnings.simplefilter("ignore", NonFiniteWeightsWarning)
            model = keras.saving.load_model(path, **kwargs)
    except Exception as error:  # Keras and the classes in the file raise many types
        # Keras wraps the error of a class in a message with the whole configuration.
        reason = problems[0] if problems else f"{type(error).__name__}: {_first_words(error)}"
        raise ModelFileError(
            f"{path!r} could not be loaded: {reason}. Import the module of its classes, and use "
            "the Keras version with which it was saved. "
            f"Received: a file of {os.path.getsize(path)} bytes"
        ) from error
    spoiled = non_finite_weights(model)
    if spoiled:
        raise ModelFileError(
            f"The weights of {path!r} must be finite. Load a checkpoint from before training "
            "diverged, or load the file unchecked with keras.saving.load_model. "
            f"Received: NaN or infinity in {len(spoiled)} weights: {', '.join(spoiled[:5])}"
        )
    return model


def _checked(path: str) -> Weights:
    """Checks a file against the limits and counts the weights that it contains.

    Raises:
        ModelFileError: If the file is damaged, incomplete or exceeds a limit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _archives.check_table(archive)
            missing = {_CONFIG, _WEIGHTS} - set(archive.namelist())
            damaged = ", ".join(sorted(missing)) or archive.testzip()
            if damaged is None:
                for name in {_CONFIG, _METADATA} & set(archive.namelist()):
                    if not isinstance(_archives.read_json(archive, name), dict):
                        raise _archives.ArchiveError(f"{name} is not a JSON object")
                return _weights_held(archive)
    except _archives.ArchiveError as error:
        raise ModelFileError(
            f"{path!r} could not be loaded: {error}. Load a file saved by Keras. "
            f"Received: a file of {os.path.getsize(path)} bytes"
        ) from error
    except zipfile.BadZipFile:
        damaged = "the table of contents"
    except Exception as error:  # zipfile, zlib and h5py raise many types
        damaged = f"{type(error).__name__}: {_first_words(error)}"
    raise ModelFileError(
        f"{path!r} is not a complete `.keras` file ({damaged} is damaged or missing). "
        "Copy the file again, or load another checkpoint. "
        f"Received: a file of {os.path.getsize(path)} bytes"
    )


def _weights_held(archive: zipfile.ZipFile) -> Weights:
    """Counts the weights in an archive and checks that it stores all of their values.

    Raises:
        ArchiveError: If a weight is not stored in the file, or declares more values than fit in it.
    """
    member = archive.getinfo(_WEIGHTS)
    # Each backward seek in a compressed member would decompress it again from the start.
    packed = member.compress_type != zipfile.ZIP_STORED
    count = values = size = 0

    def visit(name: str, item: Any) -> None:
        nonlocal count, values, size
        if not isinstance(item, h5py.Dataset):
            return
        if item.external or item.is_virtual or item.dtype.hasobject:
            raise _archives.ArchiveError(f"the weight {name} is not stored in the file")
        length = math.prod(int(n) for n in item.shape or ())
        count, values, size = count + 1, values + length, size + length * item.dtype.itemsize
        if size > member.file_size:
            raise _archives.ArchiveError(
                f"the weight {name} declares shape {item.shape}, but {_WEIGHTS} has only "
                f"{member.file_size:,} bytes"
            )

    with (
        io.BytesIO(archive.read(_WEIGHTS)) if packed else archive.open(_WEIGHTS) as file,
        h5py.File(file, "r") as weights,
    ):
        weights.visititems(visit)
    return Weights(count, values)


@contextlib.contextmanager
def limited_weights(held: Weights) -> Iterator[list[str]]:
    """Limits the weights that layers add in this thread, before they are allocated.

    Args:
        held: Weights that the file contains.

    Yields:
        List that receives the error message, because Keras may raise another error.
    """
    problems: list[str] = []
    most = Weights(
        2 * held.weights + _MORE_WEIGHTS,
        2 * held.values + _MORE_VALUES,
    )
    added = Weights(0, 0)
    thread = threading.get_ident()

    def limited(layer: keras.Layer, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal added
        if threading.get_ident() == thread:
            values = _number_of_values(shape)
            added = Weights(added.weights + 1, added.values + values)
            if added.weights > most.weights or added.values > most.values:
                problems.append(
                    f"config.json declares more weights than the file contains ({added.values:,} "
                    f"values instead of {held.values:,}, at the layer {layer.name})"
                )
                raise _archives.ArchiveError(problems[0])
        return add_weight(layer, shape, *args, **kwargs)

    # One load at a time, so that the original method of Keras is restored.
    with _CHANGES_KERAS:
        add_weight = keras.Layer.add_weight
        keras.Layer.add_weight = limited
        try:
            yield problems
        finally:
            keras.Layer.add_weight = add_weight


def _number_of_values(shape: Any) -> int:
    shape = (shape,) if isinstance(shape, int) else shape
    if not isinstance(shape, (tuple, list)):
        return 1
    return math.prod(n for n in shape if isinstance(n, int))


def _first_words(error: Exception) -> str:
    # Keras puts pages of configuration before what the innermost class raised.
    reason = str(error).rpartition("Exception encountered: ")[2]
    return " ".join(reason.split())[:_MOST_WORDS]
