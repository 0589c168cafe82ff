"""Export to OpenVINO through ONNX: a folder with one model per signature."""

import tempfile
from pathlib import Path
from typing import Any

import keras

from keras_vq._extras import require
from keras_vq.export import foreign, onnx, trial
from keras_vq.export.errors import ExportError, first_line
from keras_vq.export.signatures import Signature, SignatureModel


def write(
    model: keras.Model, signatures: list[Signature], folder: Path, halve_weights: bool = False
) -> None:
    """Writes `NAME.xml` and `NAME.bin` of each signature into a folder.

    Compile the models with `{"INFERENCE_PRECISION_HINT": "f32"}`. Otherwise OpenVINO computes in
    bfloat16 on processors with bfloat16 units, which changes about 2 % of the codes on CIFAR-10.
    The files store the hint under `keras_vq` for information; OpenVINO does not apply it.

    The outputs of each model are compared with those of the Keras model, because OpenVINO 2026.4
    silently computes wrong reconstructions from some ONNX files of TensorFlow. Such a model is
    exported with Keras's OpenVINO exporter instead.

    Args:
        model: Model with the methods of the signatures.
        signatures: List of `Signature`.
        folder: Path of the folder, which is created.
        halve_weights: Boolean. Whether to store weights as float16. Defaults to False.

    Raises:
        ExportError: If OpenVINO can't read the model, or its outputs differ from those of the
            model.
        ImportError: If a required package is missing.
    """
    require(("openvino",), "openvino", "OpenVINO export")
    openvino = foreign.import_openvino()
    with tempfile.TemporaryDirectory() as temporary:
        onnx.write(model, signatures, Path(temporary, "onnx"))
        folder.mkdir()
        for signature in signatures:
            converted = _converted(model, signature, Path(temporary))
            for name, value in foreign.IN_FLOAT32.items():
                converted.set_rt_info(value, ["keras_vq", name])
            path = folder / f"{signature.name}.xml"
            openvino.save_model(converted, path, compress_to_fp16=halve_weights)


def _converted(model: keras.Model, signature: Signature, folder: Path) -> Any:
    for convert in (_of_onnx, _of_backend):
        try:
            converted = convert(model, signature, folder)
            is_right = trial.agree(foreign.compiled(converted), model, signature)
        except Exception as error:  # OpenVINO raises errors of many types
            raise ExportError(
                f"OpenVINO cannot convert `{signature.name}` of this model: {first_line(error)}"
            ) from error
        if is_right:
            return converted
    raise ExportError(
        f"The outputs of `{signature.name}` in OpenVINO differ from those of the model. "
        "Use `format='onnx'`."
    )


def _of_onnx(model: keras.Model, signature: Signature, folder: Path) -> Any:
    openvino = foreign.import_openvino()
    # `convert_model` sends telemetry, from about 80 processes.
    return openvino.Core().read_model(folder / "onnx" / f"{signature.name}.onnx")


def _of_backend(model: keras.Model, signature: Signature, folder: Path) -> Any:
    """Exports a signature with Keras's OpenVINO exporter, and names its input and output."""
    openvino = foreign.import_openvino()
    path = folder / f"{signature.name}.xml"
    SignatureModel(model, signature).export(
        str(path),
        format="openvino",
        input_signature=[signature.input.input_spec()],
        verbose=False,
    )
    read = openvino.Core().read_model(path)
    # The exporter can also declare an intermediate value as an output.
    one = openvino.Model(read.get_results()[:1], read.get_parameters(), signature.name)
    one.inputs[0].get_tensor().set_names({signature.input.name})
    one.outputs[0].get_tensor().set_names({signature.output.name})
    return one
