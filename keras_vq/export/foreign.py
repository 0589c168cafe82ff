"""Runs an exported model without Keras or keras_vq: what any other program would do.

A script, started by `verify` in a process of its own, in which neither can be imported:

    python -I foreign.py ENGINE ARTEFACT REQUESTS.npz ANSWERS.npz

REQUESTS holds an array for each signature, named by it; ANSWERS gets the answers under the same
names, and under `NAME/seconds/N` how long batches of N took.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Answer = Callable[[np.ndarray], np.ndarray]

TIMED_BATCHES = (1, 64)
# On processors with bfloat16 units OpenVINO would else take those.
IN_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
_TIMES = 20
_BATCH = 128


def saved_model(path: Path, name: str) -> Answer:
    """A signature of a SavedModel, run by TensorFlow."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures[name]
    (key,) = function.structured_input_signature[1]

    def answer(inputs: np.ndarray) -> np.ndarray:
        (output,) = function(**{key: tf.constant(inputs)}).values()
        return output.numpy()

    answer.model = loaded  # type: ignore[attr-defined]  # a SavedModel's functions need it alive
    return answer


def litert(path: Path, name: str) -> Answer:
    """A signature of a LiteRT file, run by its interpreter; TensorFlow is not needed."""
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (key,) = interpreter.get_signature_list()[name]["inputs"]
    runner = interpreter.get_signature_runner(name)

    def answer(inputs: np.ndarray) -> np.ndarray:
        (output,) = runner(**{key: inputs}).values()
        return output

    return answer


def onnx(path: Path, name: str) -> Answer:
    """A signature of an ONNX folder, run by onnxruntime."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path / f"{name}.onnx"), options)
    (given,) = session.get_inputs()
    return lambda inputs: session.run(None, {given.name: inputs})[0]


def openvino(path: Path, name: str) -> Answer:
    """A signature of an OpenVINO folder, computed in float32."""
    return compiled(path / f"{name}.xml")


def compiled(openvino_model: Any) -> Answer:
    """A model of OpenVINO, or the path of one, computed in float32."""
    run = import_openvino().Core().compile_model(openvino_model, "CPU", IN_FLOAT32)
    return lambda inputs: run(inputs)[0]


def import_openvino() -> Any:
    """Imports OpenVINO without its telemetry, which would report each import to its makers.

    OpenVINO runs without the package of its telemetry; here that is hidden during the import.
    """
    hidden = {"openvino", "openvino_telemetry"}.isdisjoint(sys.modules)
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    return openvino


def import_onnxruntime() -> Any:
    """Imports onnxruntime with its telemetry disabled, which on Windows is enabled."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


ENGINES = {
    "tf_saved_model": saved_model,
    "litert": litert,
    "onnx": onnx,
    "openvino": openvino,
}


def main(engine: str, path: str, requests: str, answers: str) -> None:
    """Answers the requests with the artefact."""
    sys.modules["keras_vq"] = None  # type: ignore[assignment]
    sys.modules["keras"] = None  # type: ignore[assignment]
    found: dict[str, Any] = {}
    for name, inputs in np.load(requests).items():
        answer = ENGINES[engine](Path(path), name)
        batches = range(0, len(inputs), _BATCH)
        found[name] = np.concatenate([answer(inputs[i : i + _BATCH]) for i in batches])
        for count in TIMED_BATCHES:
            found[f"{name}/seconds/{count}"] = _seconds(answer, inputs[:count])
    np.savez(answers, **found)


def _seconds(answer: Answer, inputs: np.ndarray) -> list[float]:
    answer(inputs)
    seconds = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        answer(inputs)
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
