"""Script that runs an exported model without Keras and keras_vq.

`verify` starts it in a separate process, in which neither package can be imported:

    python -I foreign.py ENGINE ARTIFACT REQUESTS.npz ANSWERS.npz

REQUESTS contains the input array of each signature under the name of the signature. ANSWERS
receives the output arrays under the same names, and the durations of batches of N under
`NAME/seconds/N`.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Answer = Callable[[np.ndarray], np.ndarray]

TIMED_BATCHES = (1, 64)
# OpenVINO otherwise computes in bfloat16 on processors with bfloat16 units.
IN_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
_TIMES = 20
_BATCH = 128


def saved_model(path: Path, name: str) -> Answer:
    """Loads a signature of a SavedModel with TensorFlow."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures[name]
    (key,) = function.structured_input_signature[1]

    def answer(inputs: np.ndarray) -> np.ndarray:
        (output,) = function(**{key: tf.constant(inputs)}).values()
        return output.numpy()

    answer.model = loaded  # type: ignore[attr-defined]  # keep the SavedModel alive
    return answer


def litert(path: Path, name: str) -> Answer:
    """Loads a signature of a LiteRT file with the LiteRT interpreter, without TensorFlow."""
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
    """Loads a signature of an ONNX folder with ONNX Runtime."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path / f"{name}.onnx"), options)
    (given,) = session.get_inputs()
    return lambda inputs: session.run(None, {given.name: inputs})[0]


def openvino(path: Path, name: str) -> Answer:
    """Loads a signature of an OpenVINO folder, computed in float32."""
    return compiled(path / f"{name}.xml")


def compiled(openvino_model: Any) -> Answer:
    """Compiles an OpenVINO model, or the model at a path, for float32 on the CPU."""
    run = import_openvino().Core().compile_model(openvino_model, "CPU", IN_FLOAT32)
    return lambda inputs: run(inputs)[0]


def import_openvino() -> Any:
    """Imports OpenVINO without telemetry.

    OpenVINO reports each import if the package openvino_telemetry is installed, and works without
    it, so the package is hidden during the import.
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
    """Imports ONNX Runtime and disables its telemetry, which is enabled by default on Windows."""
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
    """Runs the exported model on the requests and writes outputs and durations.

    Args:
        engine: String. Key of `ENGINES`.
        path: String. Path of the exported model.
        requests: String. Path of the `.npz` file with the inputs.
        answers: String. Path of the `.npz` file to write.
    """
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
