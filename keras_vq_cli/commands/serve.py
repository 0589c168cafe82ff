"""`keras-vq serve`: serves an ONNX export over HTTP (Open Inference Protocol)."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import click

from keras_vq_cli import console, options, server

_EXAMPLES = """
A request is POST /v2/models/NAME/infer with one input tensor as JSON. The parameter "signature"
selects encode, decode or reconstruct (the default, also called serving_default):
  {"parameters": {"signature": "decode"},
   "inputs": [{"name": "codes", "datatype": "INT32", "shape": [1, 7, 7], "data": [3, 90, ...]}]}
GET /v2/models/NAME returns the names, types and shapes of all tensors, GET /v2/health/ready the
status of the server.

Examples:
  keras-vq serve runs/vqvae-mnist/exports/onnx
  keras-vq serve codec --name mnist --port 9000
"""


@options.command(_EXAMPLES)
@click.argument("folder", metavar="PATH", type=click.Path(path_type=Path))
@options.option(
    "--port",
    type=options.Integer(0, 65_535),
    default=8080,
    show_default=True,
    help="Port to listen on, 0 for any free port.",
)
@options.option(
    "--host",
    metavar="ADDRESS",
    default=server.DEFAULT_HOST,
    show_default=True,
    help="Address to listen on. The default accepts local requests only; 0.0.0.0, for all "
    "interfaces, accepts requests from the network without authentication.",
)
@options.option("--name", help="Name of the model in requests.  [default: the folder name]")
@options.option(
    "--max-megabytes",
    type=options.COUNT,
    default=64,
    show_default=True,
    help="Maximum size of a request and of a response in megabytes; parsing a request takes up to "
    "about 20 times as much memory.",
)
def command(folder: Path, port: int, host: str, name: str | None, max_megabytes: int) -> None:
    """Serves an ONNX export over HTTP with the Open Inference Protocol (V2).

    PATH is a folder written by keras-vq export --format onnx. Requires MLServer and onnxruntime:
    pip install "keras-vq[serve]".
    """
    # Checks that need no MLServer come first, because its import takes seconds.
    _check_folder(folder)
    name = _model_name(name, folder)
    _check_packages()
    with server.listening(host, port) as listener:
        port = listener.getsockname()[1]
        console.message("Starting MLServer ...")
        server.serve(server.Options(folder, name, host, port, max_megabytes), listener)
    console.message("Stopped.")


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        received = f"the file {path}" if path.exists() else f"{path}, which does not exist"
        raise ValueError(
            "PATH must be the folder of an ONNX export (keras-vq export --format onnx, or "
            f'model.export(PATH, format="onnx")). Received: {received}'
        )
    if not list(path.glob("*.onnx")):
        raise ValueError(
            "PATH must contain .onnx files. Write them with keras-vq export --format onnx. "
            f"Received: {path}"
        )


def _model_name(asked: str | None, folder: Path) -> str:
    if asked is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "model"
    # The name is part of URLs and of a response header.
    if not re.fullmatch(r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*", asked):
        raise ValueError(
            "--name must consist of the letters a to z and A to Z, digits, '.', '_' and '-'. "
            f"Received: {asked!r}"
        )
    return asked


def _check_packages() -> None:
    missing = [package for package in ("mlserver", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise ImportError(
            f'Serving requires {" and ".join(missing)}. Install with: pip install "keras-vq[serve]"'
        )
