"""OpenVINO: a folder of one model for each signature, by way of ONNX."""

import tempfile
from pathlib import Path
from typing import Any

import keras

from keras_vq.export import foreign, onnx, trial
from keras_vq.export.errors import ExportError, first_line, require
from keras_vq.export.signatures import Signature, SignatureModel


def write(
    model: keras.Model, signatures: list[Signature], folder: Path, halve_weights: bool = False
) -> None:
    """Writes `NAME.xml` and `NAME.bin` of each signature into a folder.

    Compile them with `{"INFERENCE_PRECISION_HINT": "f32"}`: on processors with bfloat16 units
    OpenVINO else takes those, which on CIFAR-10 flips about 2 % of the codes. It takes no such
    hint from a file; the files carry it under `keras_vq` for whoever reads them.

    What OpenVINO computes of each is compared with what the model does: OpenVINO 2026.4 turns some
    ONNX files of TensorFlow into wrong reconstructions without a word. Such a one is then converted
    from the backend itself.

    Args:
        model: The model whose methods the signatures name.
        signatures: What to write.
        folder: Where to; it is made.
        halve_weights: Whether weights are kept as float16.

    Raises:
        ExportError: If OpenVINO can't take the model, or computes something else of it.
        ImportError: If a package is missing.
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
        except Exception as error:  # OpenVINO has errors of many kinds
            raise ExportError(
                f"OpenVINO can't take `{signature.name}` of this model: {first_line(error)}"
            ) from error
        if is_right:
            return converted
    raise ExportError(
        f"OpenVINO computes something else than the model does of `{signature.name}`: "
        "take format='onnx'"
    )


def _of_onnx(model: keras.Model, signature: Signature, folder: Path) -> Any:
    openvino = foreign.import_openvino()
    # Not `convert_model`, which reports to OpenVINO's makers, by some eighty processes.
    return openvino.Core().read_model(folder / "onnx" / f"{signature.name}.onnx")


def _of_backend(model: keras.Model, signature: Signature, folder: Path) -> Any:
    """The model as Keras gives it to OpenVINO, under the names of the signature."""
    openvino = foreign.import_openvino()
    path = folder / f"{signature.name}.xml"
    SignatureModel(model, signature).export(
        str(path),
        format="openvino",
        input_signature=[signature.input.input_spec()],
        verbose=False,
    )
    read = openvino.Core().read_model(path)
    # Beside the answer it may name an inner value as an output.
    one = openvino.Model(read.get_results()[:1], read.get_parameters(), signature.name)
    one.inputs[0].get_tensor().set_names({signature.input.name})
    one.outputs[0].get_tensor().set_names({signature.output.name})
    return one
