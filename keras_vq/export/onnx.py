"""ONNX: a folder of one file for each signature, from whichever backend runs."""

import json
from pathlib import Path
from typing import Any

import keras

from keras_vq import _backend
from keras_vq.export import foreign, trial
from keras_vq.export.errors import ExportError, first_line, require
from keras_vq.export.signatures import Signature, SignatureModel


def write(model: keras.Model, signatures: list[Signature], folder: Path) -> None:
    """Writes `encode.onnx`, `decode.onnx` and `serving_default.onnx` into a folder.

    Args:
        model: The model whose methods the signatures name.
        signatures: What to write.
        folder: Where to; it is made.

    Raises:
        ExportError: If the model holds something that ONNX has no operation for.
        ImportError: If a package is missing.
    """
    converter, extra = _backend.onnx_converter()
    require(("onnx", "onnxruntime", converter), extra, "ONNX export")
    folder.mkdir()
    for signature in signatures:
        path = folder / f"{signature.name}.onnx"
        if signature.name == "serving_default":
            _join(folder, signatures, path)
        else:
            _convert(model, signature, path)
        _name_tensors(path, signature)
        if not trial.agree(foreign.onnx(folder, signature.name), model, signature):
            raise ExportError(
                f"{converter} wrote a file of `{signature.name}` that computes something else than "
                "this model does. format='tf_saved_model' takes nearly all models"
            )


def _convert(model: keras.Model, signature: Signature, path: Path) -> None:
    try:
        # The written file is compared with the model, on another batch size than the traced one.
        with _backend.quiet_tracing():
            SignatureModel(model, signature).export(
                str(path),
                format="onnx",
                input_signature=[signature.input.input_spec()],
                verbose=False,
            )
    except OSError:  # a full disk, or a folder that can't be written to
        raise
    except Exception as error:  # each converter has errors of its own
        raise ExportError(
            f"{_backend.onnx_converter()[0]} can't write `{signature.name}` of this model as ONNX "
            f"({type(error).__name__}: {first_line(error)}). Look for a layer or quantizer "
            "that it does not know; format='tf_saved_model' takes nearly all"
        ) from error


def _name_tensors(path: Path, signature: Signature) -> None:
    """Gives input, output and batch the names that the signature promises."""
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
    # For programs that check what they are given.
    onnx.helper.set_model_props(file, {"keras_vq.bounds": json.dumps(list(signature.input.bounds))})
    try:
        onnx.checker.check_model(file, full_check=True)
    except Exception as error:  # of the checker, or of the inference of shapes
        raise ExportError(
            f"The converter wrote a file of `{signature.name}` that no program can run: "
            f"{first_line(error)}"
        ) from error
    onnx.save(file, str(path))


def _join(folder: Path, signatures: list[Signature], path: Path) -> None:
    """Reconstructions as `encode` and then `decode`: converters get the two in one graph wrong."""
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
