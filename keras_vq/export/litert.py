"""Export to LiteRT (TFLite) on the TensorFlow backend, with built-in operations only."""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vq._extras import require
from keras_vq.export import saved_model, trial
from keras_vq.export.errors import ExportError, first_line
from keras_vq.export.signatures import Signature, SignatureModel

# Convolutions have nearly all weights. The nearest-code search stays in float32, because int8
# scores have many ties (with int8, 37 % of the codes of the preset vqvae_mnist agree).
_CONVOLUTIONS = ("CONV_2D", "CONV_2D_TRANSPOSE", "DEPTHWISE_CONV_2D")
# Names of the same operations in the file format.
_BUILTIN_CONVOLUTIONS = ("CONV_2D", "TRANSPOSE_CONV", "DEPTHWISE_CONV_2D")
_WEIGHT_BITS = 8
_ACTIVATION_BITS = {"int8_convolutions": 8, "int16_convolutions": 16}

# Input batches by name of the input, for each signature.
Requests = dict[str, dict[str, np.ndarray]]


def write(
    model: keras.Model,
    signatures: list[Signature],
    path: Path,
    precision: str = "float32",
    calibration_inputs: Any = None,
) -> None:
    """Writes a `.tflite` file with all signatures.

    Args:
        model: Model with the methods of the signatures.
        signatures: List of `Signature`.
        path: Path of the file.
        precision: String. One of `formats.PRECISIONS["litert"]`. Defaults to `"float32"`.
        calibration_inputs: Array of inputs that set the ranges of quantized activations. Defaults
            to None.

    Raises:
        ExportError: If LiteRT has no built-in operation for a part of the model, there are no
            convolutions to quantize, or the outputs of the file differ from those of the model.
        ImportError: If a required package is missing.
    """
    require(("ai_edge_litert", "ai_edge_quantizer"), "litert", "LiteRT export")
    requests = _requests(signatures, calibration_inputs)
    content = _converted(model, signatures, precision, requests)
    if precision in ("int8_weights", "int8_dynamic", *_ACTIVATION_BITS):
        _check_has_convolutions(content, precision)
        content = _quantized(content, precision, requests)
    _check_answers(content, model, signatures, precision, requests)
    path.write_bytes(content)


def _converted(
    model: keras.Model,
    signatures: list[Signature],
    precision: str,
    requests: Requests,
) -> bytes:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "saved_model")
        functions = [
            SignatureModel(model, signature, for_int8=precision == "int8_full")
            for signature in signatures
        ]
        saved_model.write_functions(signatures, functions, folder)
        names = [signature.name for signature in signatures]
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=names)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8_full":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                (name, {key: one[None]})
                for name, batch in requests.items()
                for key, values in batch.items()
                for one in values
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the interpreter inside the converter
                return converter.convert()
        except Exception as error:  # the error class of TensorFlow is private
            unknown = [line for line in str(error).splitlines() if line.startswith("TF Select ops")]
            raise ExportError(
                "The model cannot be converted to built-in operations of LiteRT: "
                f"{unknown[0] if unknown else first_line(error)}"
            ) from error


def _requests(signatures: list[Signature], inputs: Any) -> Requests:
    """Returns calibration inputs for each signature; empty without inputs."""
    if inputs is None:
        return {}
    given = {"inputs": np.asarray(inputs, "float32")}
    # `encode` comes first, because its outputs are the inputs of `decode`.
    for signature in sorted(signatures, key=lambda signature: signature.name != "encode"):
        if signature.name == "encode":
            encoded = signature.method(given["inputs"])
            given[signature.output.name] = keras.ops.convert_to_numpy(encoded)
    return {
        signature.name: {signature.input.name: given[signature.input.name]}
        for signature in signatures
    }


def _check_has_convolutions(content: bytes, precision: str) -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(content, 0)
    codes = {model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())}
    operations = {getattr(schema.BuiltinOperator, name, None) for name in _BUILTIN_CONVOLUTIONS}
    if not codes & operations:
        raise ExportError(
            "`precision` must be 'float32', 'float16' or 'int8_full' for a network without "
            f"convolutions; the others only quantize convolutions. Received: {precision!r}"
        )


def _check_answers(
    content: bytes,
    model: keras.Model,
    signatures: list[Signature],
    precision: str,
    requests: Requests,
) -> None:
    """Compares latents and reconstructions with those of the model.

    Raises:
        ExportError: If they differ by more than `trial.MAX_RELATIVE_ERROR`.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    for signature in signatures:
        if signature.name == "serving_default" or signature.output.dtype == "int32":
            continue  # near-ties make codes differ, and reconstructions from them
        given = requests.get(signature.name) or {signature.input.name: trial.inputs_for(signature)}
        (answer,) = interpreter.get_signature_runner(signature.name)(**given).values()
        (inputs,) = given.values()
        wanted = keras.ops.convert_to_numpy(SignatureModel(model, signature)(inputs))
        error = trial.relative_error(answer, wanted)
        if not error <= trial.MAX_RELATIVE_ERROR:
            raise ExportError(
                f"`{signature.name}` of the file differs from the model: the root mean squared "
                f"error is {100 * error:.0f} % of the largest value. Kernel channels close to zero "
                "lose their int8 bias. Use the precision 'float16' or 'int8_weights'. "
                f"Received: {precision!r}"
            )


def _quantized(content: bytes, precision: str, requests: Requests) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer

    tool = quantizer.Quantizer(bytearray(content))
    for name in _CONVOLUTIONS:
        operation = qtyping.TFLOperationName[name]
        if precision == "int8_weights":
            tool.add_weight_only_config(".*", operation, _WEIGHT_BITS)
        elif precision == "int8_dynamic":
            tool.add_dynamic_config(".*", operation, _WEIGHT_BITS)
        else:
            bits = _ACTIVATION_BITS[precision]
            tool.add_static_config(".*", operation, bits, _WEIGHT_BITS)
    # The quantizer warns about memory of the calibration, and about weights shared by signatures,
    # which get the same values twice.
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Use one batch, because the ranges of several batches are averaged, and clipping beyond
            # the average costs more accuracy than coarser steps.
            batches = {name: [batch] for name, batch in requests.items()}
            ranges = tool.calibrate(batches) if tool.need_calibration else None
            quantized = tool.quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
    finally:
        logging.disable(logging.NOTSET)
    return bytes(quantized.quantized_model)
