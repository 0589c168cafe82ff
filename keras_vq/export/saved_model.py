"""SavedModel, as TensorFlow Serving takes it; runs on the TensorFlow backend."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vq.export.errors import require
from keras_vq.export.signatures import Signature, SignatureModel

WARM_UP_BATCHES = (1, 4)


def write(model: keras.Model, signatures: list[Signature], folder: Path) -> None:
    """Writes a SavedModel with its warm-up requests.

    Args:
        model: The model whose methods the signatures name.
        signatures: What to write.
        folder: Where to; it is made.

    Raises:
        ImportError: If a package is missing.
    """
    require(("tensorflow_serving",), "saved-model", "The warm-up of a SavedModel")
    write_functions(model, signatures, folder, for_empty_batches=True)
    _write_warm_up(signatures, folder)


def write_functions(
    model: keras.Model, signatures: list[Signature], folder: Path, for_empty_batches: bool
) -> None:
    """Writes a SavedModel of the signatures alone.

    Args:
        model: The model whose methods the signatures name.
        signatures: What to write.
        folder: Where to; it is made.
        for_empty_batches: Whether a batch of no images is answered, with no answers; TensorFlow's
            convolutions refuse one.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    for signature in signatures:
        archive.add_endpoint(
            signature.name,
            _endpoint(model, signature, for_empty_batches),
            input_signature=[signature.input.input_spec()],
        )
    archive.write_out(str(folder), verbose=False)


def _endpoint(model: keras.Model, signature: Signature, for_empty_batches: bool) -> Any:
    import tensorflow as tf

    function = SignatureModel(model, signature)

    def answer(inputs: Any) -> dict[str, Any]:
        if not for_empty_batches:
            return {signature.output.name: function(inputs)}
        count = tf.shape(inputs)[0]
        added = tf.cast(tf.equal(count, 0), "int32")
        padding = tf.stack([tf.stack([0, added])] + [tf.zeros(2, "int32")] * len(inputs.shape[1:]))
        return {signature.output.name: function(tf.pad(inputs, padding))[:count]}

    return answer


def _write_warm_up(signatures: list[Signature], folder: Path) -> None:
    """Requests that TensorFlow Serving answers to itself before it takes a user's."""
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
