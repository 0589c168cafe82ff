"""All export formats of the presets, run by their own runtimes without Keras.

On each backend the three presets are exported to each format and run on 512 test images by the
runtime of the format, in a process without Keras. SavedModels are also run by `saved_model_cli` and
Keras's `TFSMLayer`, ONNX files by onnxruntime-web in Node and by `keras-vq serve`. Lower precisions
are measured for the files written on TensorFlow. Latencies are medians of 20 calls.

Run: python -m recipes.exports [--only vqvae_mnist] [--count 512]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vq
from keras_vq import export
from recipes.common import Stopwatch, results_folder, save
from recipes.serve_load import ask, request_for, serving

BACKENDS = ("tensorflow", "jax", "torch")
PRESETS = {"vqvae_mnist": "mnist", "vae_mnist": "mnist", "vqvae_cifar10": "cifar10"}
ENGINES = {
    "tf_saved_model": "tf.saved_model.load",
    "litert": "ai-edge-litert, no TensorFlow",
    "onnx": "onnxruntime",
    "openvino": "OpenVINO, float32",
}
EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "encode.mjs"
SEED = 0


def images_of(preset: str, split: str, count: int) -> np.ndarray:
    """Returns the first images of the data set that a preset was trained on."""
    return keras_vq.data.load(PRESETS[preset], split).take(count).images


def rows_of(
    preset: str, formats: Sequence[str], count: int, node_modules: Path | None
) -> dict[str, dict[str, Any]]:
    """Exports a preset on this backend; returns one row per file and runtime."""
    model = keras_vq.models.ReconstructionModel.from_preset(preset)
    images, calibration = images_of(preset, "test", count), images_of(preset, "train", 128)
    wanted = model._in_batches(model.signatures()[0].method, images, 128)
    backend = keras.backend.backend()
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        for format in formats:
            precisions = export.PRECISIONS[format]
            for precision in precisions if backend == "tensorflow" else precisions[:1]:
                name = f"{preset}, {format}, {precision}, from {backend}"
                path = Path(temporary, f"{format}-{precision}")
                path = path.with_suffix(".tflite") if format == "litert" else path
                began = time.perf_counter()
                written = model.export(
                    path, format, precision=precision, calibration_inputs=calibration
                )
                seconds = time.perf_counter() - began
                report = export.verify(model, written, images)
                row = rows[f"{name}: {ENGINES[format]}"] = as_row(report, seconds)
                print(name, row)
                if precision == "float32":
                    for program, run in others(format, node_modules).items():
                        answer = run(written, images)
                        rows[f"{name}: {program}"] = dict.fromkeys(row) | agreement(answer, wanted)
    return rows


def as_row(report: export.Report, seconds: float) -> dict[str, Any]:
    """Returns the figures of a report that the table shows."""
    rise = None
    if report.mean_squared_error is not None and report.mean_squared_error_of_model:
        rise = 100 * (report.mean_squared_error / report.mean_squared_error_of_model - 1)
    return {
        "codes agree, %": percent(report.codes_agree),
        "images agree, %": percent(report.inputs_agree),
        "distortion rise, %": percent(report.distortion_rise),
        "MSE rise, %": rise,
        "largest pixel difference": report.largest_decoded_difference,
        "largest reconstruction difference": report.largest_reconstruction_difference,
        "largest latent difference": report.largest_latent_difference,
        "size, kB": report.size_bytes / 1000,
        "encode 1, ms": report.milliseconds["1"],
        "encode 64, ms": report.milliseconds["64"],
        "export, s": seconds,
    }


def agreement(answer: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Returns the figures of a runtime that only encodes."""
    answer = answer.reshape(wanted.shape)
    if wanted.dtype != np.int32:
        return {"largest latent difference": float(np.abs(answer - wanted).max())}
    is_equal = (answer == wanted).reshape(len(wanted), -1)
    return {
        "codes agree, %": 100 * float(is_equal.mean()),
        "images agree, %": 100 * float(is_equal.all(axis=1).mean()),
    }


def percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


Program = Callable[[Path, np.ndarray], np.ndarray]


def others(format: str, node_modules: Path | None) -> dict[str, Program]:
    """Returns additional runtimes of a format."""
    if format == "tf_saved_model":
        return {"saved_model_cli run": by_saved_model_cli, "Keras's TFSMLayer": by_layer}
    if format == "onnx":
        programs = {"keras-vq serve, over HTTP": by_server}
        if node_modules is not None:
            programs["onnxruntime-web, in Node"] = lambda path, images: by_node(
                path, images, node_modules
            )
        return programs
    return {}


def by_saved_model_cli(path: Path, images: np.ndarray) -> np.ndarray:
    """Runs a SavedModel with `saved_model_cli`."""
    with tempfile.TemporaryDirectory() as temporary:
        np.save(Path(temporary, "images.npy"), images)
        program = "from tensorflow.python.tools.saved_model_cli import main; main()"
        subprocess.run(
            [
                *(sys.executable, "-c", program, "run", "--dir", path, "--tag_set", "serve"),
                *("--signature_def", "encode", "--outdir", temporary),
                *("--inputs", f"inputs={temporary}/images.npy"),
            ],
            check=True,
            capture_output=True,
        )
        (answer,) = (file for file in Path(temporary).iterdir() if file.name != "images.npy")
        return np.load(answer)


def by_layer(path: Path, images: np.ndarray) -> np.ndarray:
    """Runs a SavedModel as a layer of a Keras model on TensorFlow."""
    program = (
        "import sys, keras, numpy as np\n"
        "layer = keras.layers.TFSMLayer(sys.argv[1], call_endpoint='encode')\n"
        "(answer,) = layer(np.load(sys.argv[2])).values()\n"
        "np.save(sys.argv[3], answer)\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        given, made = Path(temporary, "images.npy"), Path(temporary, "answer.npy")
        np.save(given, images)
        subprocess.run(
            [sys.executable, "-c", program, path, given, made],
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
            check=True,
            capture_output=True,
        )
        return np.load(made)


def by_node(path: Path, images: np.ndarray, node_modules: Path) -> np.ndarray:
    """Runs the JavaScript example in Node."""
    with tempfile.TemporaryDirectory(dir=node_modules.parent) as temporary:
        script = shutil.copy(EXAMPLE, temporary)
        given, made = Path(temporary, "images.f32"), Path(temporary, "codes")
        images.tofile(given)
        shape = [str(size) for size in images.shape[1:]]
        done = subprocess.run(
            ["node", script, path / "encode.onnx", given, *shape, made],
            check=True,
            capture_output=True,
            text=True,
        )
        dtype = "int32" if " codes " in done.stdout else "float32"
        return np.fromfile(made, dtype)


def by_server(path: Path, images: np.ndarray) -> np.ndarray:
    """Queries `keras-vq serve` with 32 images per request."""
    with serving(path) as server:
        connection = server.connection()
        bodies = [request_for(images[i : i + 32]) for i in range(0, len(images), 32)]
        return np.concatenate([ask(connection, body) for body in bodies])


def install_web_runtime(folder: Path) -> Path | None:
    """Installs onnxruntime-web from npm; returns None without npm."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("No npm and node here: onnxruntime-web is left out.")
        return None
    subprocess.run(
        ["npm", "install", "--ignore-scripts", "--silent", "--prefix", folder, "onnxruntime-web"],
        check=True,
    )
    return folder / "node_modules"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(PRESETS), help="one model only")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--formats", nargs="+", choices=export.FORMATS, default=export.FORMATS)
    parser.add_argument("--count", type=int, default=512, help="test images")
    parser.add_argument(
        "--update", action="store_true", help="keep the rows of earlier runs that this one lacks"
    )
    parser.add_argument("--rows-of", choices=list(PRESETS), help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--node-modules", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rows_of:
        rows = rows_of(
            arguments.rows_of, arguments.formats, arguments.count, arguments.node_modules
        )
        arguments.to.write_text(json.dumps(rows))
        return

    stopwatch = Stopwatch()
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        node_modules = None
        if "onnx" in arguments.formats:
            node_modules = install_web_runtime(Path(temporary))
        extra = [] if node_modules is None else ["--node-modules", str(node_modules)]
        for preset in [arguments.only] if arguments.only else PRESETS:
            for backend in arguments.backends:
                made = Path(temporary, "rows.json")
                command = [sys.executable, "-m", "recipes.exports", "--rows-of", preset]
                command += ["--formats", *arguments.formats]
                subprocess.run(
                    [*command, "--to", made, "--count", str(arguments.count), *extra],
                    env={**os.environ, "KERAS_BACKEND": backend},
                    check=True,
                )
                rows.update(json.loads(made.read_text()))
    kept = results_folder() / "exports.json"
    if arguments.update and kept.exists():
        rows = json.loads(kept.read_text())["figures"] | rows
    save("exports", rows, SEED, stopwatch)
    print(f"Written to {results_folder()}")


if __name__ == "__main__":
    main()
