"""Export to SavedModel for TensorFlow Serving, on the TensorFlow backend."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vq._extras import require
from keras_vq.export.signatures import Signature, SignatureModel

WARM_UP_BATCHES = (1, 4)
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


def write(model: keras.Model, signatures: list[Signature], folder: Path) -> None:
    """Writes a SavedModel with its warm-up requests.

    Args:
        model: Model with the methods of the signatures.
        signatures: List of `Signature`.
        folder: Path of the folder, which is created.

    Raises:
        ImportError: If tensorflow_serving is missing.
        OSError: If the disk is full or not writable.
    """
    require(("tensorflow_serving",), "saved-model", "The warm-up of a SavedModel")
    functions = [SignatureModel(model, signature) for signature in signatures]
    write_functions(signatures, [_of_any_batch(each) for each in functions], folder)
    with _errors_of_the_file_system(folder):
        _write_warm_up(signatures, folder)


def write_functions(
    signatures: list[Signature],
    functions: Sequence[Callable[[Any], Any]],
    folder: Path,
) -> None:
    """Writes a SavedModel of functions, without warm-up requests.

    Args:
        signatures: List of `Signature`. Names of the functions and of their tensors.
        functions: Sequence of callables, one per signature, from a tensor to a tensor.
        folder: Path of the folder, which is created.
    """
    # ExportArchive stores only weights that the functions use, e.g. not those of a discriminator.
    archive = keras.export.ExportArchive()
    for signature, function in zip(signatures, functions, strict=True):
        archive.add_endpoint(
            signature.name,
            _with_named_output(function, signature.output.name),
            input_signature=[signature.input.input_spec()],
        )
    with _errors_of_the_file_system(folder):
        archive.write_out(str(folder), verbose=False)


@contextmanager
def _errors_of_the_file_system(folder: Path) -> Iterator[None]:
    """Raises OSError for a full disk and the like, for which TensorFlow has errors of its own."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        for number in _OF_DISKS:
            if os.strerror(number) in error.message:
                raise OSError(number, os.strerror(number), str(folder)) from error
        raise


def _with_named_output(function: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    return lambda inputs: {name: function(inputs)}


def _of_any_batch(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wraps a function to accept empty batches, which convolutions of TensorFlow reject."""
    import tensorflow as tf

    def answer(inputs: Any) -> Any:
        count = tf.shape(inputs)[0]
        added = tf.cast(tf.equal(count, 0), "int32")
        padding = tf.stack([tf.stack([0, added])] + [tf.zeros(2, "int32")] * len(inputs.shape[1:]))
        return function(tf.pad(inputs, padding))[:count]

    return answer


def _write_warm_up(signatures: list[Signature], folder: Path) -> None:
    """Writes requests that TensorFlow Serving runs when it loads the model."""
    import tensorflow as tf
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    extra = folder / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for signature in signatures:
            for batch in WARM_UP_BATCHES:
                zeros = np.zeros((batch, *signature.input.shape), signature.input.dtype)
                request = predict_pb2.PredictRequest(
                    model_spec=model_pb2.ModelSpec(signature_name=signature.name),
                    inputs={signature.input.name: tf.make_tensor_proto(zeros)},
                )
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                writer.write(log.SerializeToString())
