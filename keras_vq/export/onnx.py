"""Export to ONNX: a folder with one file per signature, on all backends."""

import json
from pathlib import Path
from typing import Any

import keras

from keras_vq import backend
from keras_vq._extras import require
from keras_vq.export import foreign, trial
from keras_vq.export.errors import ExportError, first_line
from keras_vq.export.signatures import Signature, SignatureModel


def write(model: keras.Model, signatures: list[Signature], folder: Path) -> None:
    """Writes `encode.onnx`, `decode.onnx` and `serving_default.onnx` into a folder.

    Args:
        model: Model with the methods of the signatures.
        signatures: List of `Signature`.
        folder: Path of the folder, which is created.

    Raises:
        ExportError: If ONNX has no operation for a part of the model, or the outputs of a file
            differ from those of the model.
        ImportError: If a required package is missing.
    """
    converter, extra = backend.onnx_converter()
    require(("onnx", "onnxruntime", converter), extra, "ONNX export")
    folder.mkdir()
    for signature in signatures:
        path = folder / f"{signature.name}.onnx"
        if signature.name == "serving_default":
            _join(folder, signatures, path)
        else:
            _convert(model, signature, path)
        _name_tensors(path, signature)
        agrees = trial.agree(foreign.onnx(folder, signature.name), model, signature)
        if not agrees:
            raise ExportError(
                f"The file of `{signature.name}` that {converter} wrote has other outputs than the "
                "model. Use `format='tf_saved_model'`, which supports nearly all models."
            )


def _convert(model: keras.Model, signature: Signature, path: Path) -> None:
    try:
        # Tracer warnings can be ignored, because `write` checks the file at another batch size.
        with backend.ignore_tracer_warnings():
            SignatureModel(model, signature).export(
                str(path),
                format="onnx",
                input_signature=[signature.input.input_spec()],
                verbose=False,
            )
    except OSError:  # a full disk, or a folder without write permission
        raise
    except Exception as error:  # each converter has its own error classes
        raise ExportError(
            f"{backend.onnx_converter()[0]} cannot convert `{signature.name}` to ONNX "
            f"({type(error).__name__}: {first_line(error)}). Replace the unsupported layer or "
            "quantizer, or use `format='tf_saved_model'`, which supports nearly all models."
        ) from error


def _name_tensors(path: Path, signature: Signature) -> None:
    """Renames input, output and batch dimension, and stores the input bounds as metadata.

    Raises:
        ExportError: If the ONNX checker rejects the file.
    """
    import onnx

    file = onnx.load(str(path))
    _rename(file.graph, file.graph.input[0].name, signature.input.name)
    _rename(file.graph, file.graph.output[0].name, signature.output.name)
    for value, spec in (
        (file.graph.input[0], signature.input),
        (file.graph.output[0], signature.output),
    ):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        shape.dim.add().dim_param = "batch"
        for size in spec.shape:
            shape.dim.add().dim_value = size
    # For programs that validate their inputs.
    onnx.helper.set_model_props(file, {"keras_vq.bounds": json.dumps(list(signature.input.bounds))})
    try:
        onnx.checker.check_model(file, full_check=True)
    except Exception as error:  # from the checker or from shape inference
        raise ExportError(
            f"The converter wrote an invalid ONNX file of `{signature.name}`: {first_line(error)}"
        ) from error
    onnx.save(file, str(path))


def _join(folder: Path, signatures: list[Signature], path: Path) -> None:
    """Joins `encode` and `decode`, because converters export the combined graph incorrectly."""
    import onnx

    first, second = (onnx.load(str(folder / f"{name}.onnx")) for name in ("encode", "decode"))
    for file in (first, second):
        del file.metadata_props[:]
    between = signatures[0].output.name
    joined = onnx.compose.merge_models(
        onnx.compose.add_prefix(first, "encode_"),
        onnx.compose.add_prefix(second, "decode_"),
        io_map=[(f"encode_{between}", f"decode_{between}")],
    )
    onnx.save(joined, str(path))


def _rename(graph: Any, old: str, new: str) -> None:
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    if new in taken and new != old:
        _rename(graph, new, f"{new}_inner")
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if value.name == old:
            value.name = new
