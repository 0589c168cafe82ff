"""Export of formats of TensorFlow from other backends, in a separate process."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_vq._files import errors_naming
from keras_vq.export.errors import ExportError, last_words

_PROGRAM = """
import os, shutil, sys, threading

model_file, out, format, precision, inputs_file = sys.argv[1:]

def end_with_parent():
    os.read(0, 1)  # ends when the other process does, however it does
    shutil.rmtree(os.path.dirname(model_file), ignore_errors=True)
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
import numpy as np
import keras_vq
inputs = np.load(inputs_file) if inputs_file else None
keras_vq.load_model(model_file, compile=False).export(
    out, format=format, precision=precision, calibration_inputs=inputs
)
"""


def write(
    model: keras.Model,
    path: Path,
    format: str,
    precision: str,
    calibration_inputs: np.ndarray | None,
) -> None:
    """Saves the model, then loads and exports it in a process with the TensorFlow backend.

    Args:
        model: Model to export.
        path: Path of the file or folder to write.
        format: String. Export format.
        precision: String. Precision of the format.
        calibration_inputs: Array of inputs that set the ranges of quantized activations, or None.

    Raises:
        ExportError: If the process fails.
        OSError: If `path` is not writable.
    """
    with tempfile.TemporaryDirectory() as temporary:
        model_file, out = Path(temporary, "model.keras"), Path(temporary, "out.tflite")
        inputs_file = ""
        with errors_naming(Path(tempfile.gettempdir()), Path(temporary)):
            model.save(model_file)
            if calibration_inputs is not None:
                inputs_file = str(Path(temporary, "inputs.npy"))
                np.save(inputs_file, calibration_inputs)
        command = [sys.executable, "-P", "-c", _PROGRAM]
        done = _run(
            [*command, str(model_file), str(out), format, precision, inputs_file],
            {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        if done.returncode != 0:
            raise ExportError(
                f"The format {format} is written by TensorFlow in a separate process, which "
                f"{last_words(done)}. For a model with custom layers, define them in an "
                "importable package, or export on the TensorFlow backend."
            )
        written = out / "1" if format == "tf_saved_model" else out
        try:
            shutil.move(written, path)
        except shutil.Error as error:  # its argument is a list of (source, target, reason)
            number = re.search(r"\[Errno (\d+)\]", str(error.args[0][0][2]))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a process whose standard input is open as long as this process is there."""
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            errors = process.stderr.read()
            return subprocess.CompletedProcess(command, process.wait(), stderr=errors)
        except BaseException:  # Ctrl-C too
            process.kill()
            raise
