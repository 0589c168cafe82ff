"""OpenVINO: a folder of one model for each signature, by way of ONNX."""

import tempfile
from pathlib import Path

import keras

from keras_vq.export import onnx
from keras_vq.export.errors import ExportError, require
from keras_vq.export.signatures import Signature


def write(
    model: keras.Model, signatures: list[Signature], folder: Path, halve_weights: bool = False
) -> None:
    """Writes `NAME.xml` and `NAME.bin` of each signature into a folder.

    Compile them with `{"INFERENCE_PRECISION_HINT": "f32"}`: on processors with bfloat16 units
    OpenVINO else takes those, which on CIFAR-10 flips about 2 % of the codes. It takes no such
    hint from a file; the files carry it under `keras_vq` for whoever reads them.

    Args:
        model: The model whose methods the signatures name.
        signatures: What to write.
        folder: Where to; it is made.
        halve_weights: Whether weights are kept as float16.

    Raises:
        ExportError: If the model holds something that OpenVINO has no operation for.
        ImportError: If a package is missing.
    """
    require(("openvino",), "openvino", "OpenVINO export")
    import openvino

    with tempfile.TemporaryDirectory() as temporary:
        by_way_of = Path(temporary, "onnx")
        onnx.write(model, signatures, by_way_of)
        folder.mkdir()
        for signature in signatures:
            try:
                converted = openvino.convert_model(by_way_of / f"{signature.name}.onnx")
            except Exception as error:
                raise ExportError(
                    f"OpenVINO can't take `{signature.name}` of this model: {error}"
                ) from error
            converted.set_rt_info("f32", ["keras_vq", "INFERENCE_PRECISION_HINT"])
            path = folder / f"{signature.name}.xml"
            openvino.save_model(converted, path, compress_to_fp16=halve_weights)
