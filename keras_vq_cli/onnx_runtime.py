"""MLServer runtime for ONNX exports: validates requests and runs them with onnxruntime.

Neither Keras nor keras_vq is imported. Besides `keras-vq serve`, any MLServer can use this runtime:
set `implementation` to `keras_vq_cli.onnx_runtime.OnnxRuntime` and `parameters.uri` to the export
folder in `model-settings.json`.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.errors import InferenceError, MLServerError
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
    Parameters,
    RequestInput,
    ResponseOutput,
)

onnxruntime.disable_telemetry_events()  # enabled by default on Windows

MEGABYTE = 1_000_000
DEFAULT_MEGABYTES = 64

# Metadata key in exported files: a JSON list of the minimum and maximum of the input.
_BOUNDS = "keras_vq.bounds"
_DEFAULT_SIGNATURE = "serving_default"
_OTHER_NAMES = {"reconstruct": _DEFAULT_SIGNATURE}
_TYPES = {
    "tensor(float)": ("FP32", np.float32),
    "tensor(int32)": ("INT32", np.int32),
    "tensor(int64)": ("INT64", np.int64),
}
_WHOLE_NUMBERS = ("INT32", "INT64")
# Images per onnxruntime call: bounds the memory for activations, and spreads large requests over
# all cores.
_BLOCK = 16
# Approximate maximum length of a number in JSON.
_BYTES_PER_NUMBER = {"FP32": 24, "INT32": 12, "INT64": 21}
# MLServer copies the id of a request into a response header.
_ID = re.compile(r"[!-~]{0,256}")


class Tensor(NamedTuple):
    """Input or output of a signature; `shape` excludes the batch dimension."""

    name: str
    datatype: str
    dtype: Any
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {_in_words(self.shape)}"

    def metadata(self, signature: str) -> MetadataTensor:
        """Returns the metadata of the tensor in the Open Inference Protocol."""
        return MetadataTensor(
            name=self.name,
            datatype=self.datatype,
            shape=[-1, *self.shape],
            parameters=Parameters(signature=signature),
        )


class Signature:
    """Exported function: an ONNX file with one input and one output.

    Args:
        path: Path of the file. Its stem is the name of the signature.

    Raises:
        ValueError: If the file is not an ONNX file, or not an export of keras_vq.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._session = _session(path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                "An exported signature must have one input and one output. Received: "
                f"{len(inputs)} and {len(outputs)} in {path}"
            )
        self.input = _tensor(inputs[0], path)
        self.output = _tensor(outputs[0], path)
        self._bounds = _bounds(self._session, self.input, path)

    def __str__(self) -> str:
        return f"{self.name}: {self.input} -> {self.output}"

    def read(self, given: RequestInput) -> np.ndarray:
        """Validates the input tensor of a request and converts it to an array.

        Args:
            given: `RequestInput`. Its data is a flat list, or lists nested according to its shape.

        Returns:
            Array of the input dtype, shape `(n, *input.shape)`.

        Raises:
            InferenceError: If name, datatype, shape, data or value range is invalid.
        """
        self._check_type(given)
        self._check_shape(given.shape)
        values = self._flat(given.data.root, given.shape)
        array = self._as_array(values)
        return array.reshape(given.shape)

    def answer(self, block: np.ndarray) -> np.ndarray:
        """Runs the model on a block of inputs.

        Raises:
            InferenceError: If onnxruntime fails, or if the output is not finite, which JSON can't
                represent.
        """
        try:
            (output,) = self._session.run(None, {self.input.name: block})
        except Exception as error:  # the exception classes of onnxruntime are private
            raise InferenceError(
                f"onnxruntime failed to run {self.name!r} on these values: {_first_line(error)}"
            ) from error
        if not np.isfinite(output).all():
            raise InferenceError(
                f"The output of {self.name!r} for these values is not finite. Send values in the "
                "range of the training data."
            )
        return output

    def response(self, answers: list[np.ndarray]) -> ResponseOutput:
        """Concatenates the outputs of all blocks into one output tensor of the protocol."""
        none = np.empty((0, *self.output.shape), self.output.dtype)
        output = np.concatenate([none, *answers])
        return ResponseOutput(
            name=self.output.name,
            datatype=self.output.datatype,
            shape=list(output.shape),
            data=output.ravel().tolist(),
        )

    def bytes_of_answer(self, count: int) -> int:
        """Returns the approximate maximum size of a JSON response for `count` inputs."""
        return count * math.prod(self.output.shape) * _BYTES_PER_NUMBER[self.output.datatype]

    def _check_type(self, given: RequestInput) -> None:
        if given.name != self.input.name:
            raise InferenceError(
                f"The input name of {self.name!r} must be {self.input.name!r}. "
                f"Received: {_shown(given.name)}"
            )
        expected = (
            _WHOLE_NUMBERS if self.input.datatype in _WHOLE_NUMBERS else (self.input.datatype,)
        )
        if given.datatype not in expected:
            raise InferenceError(
                f"The datatype of {self.input.name!r} must be {' or '.join(expected)}. "
                f"Received: {_shown(given.datatype)}"
            )

    def _check_shape(self, shape: list[int]) -> None:
        if tuple(shape[1:]) != self.input.shape or not shape or shape[0] < 0:
            raise InferenceError(
                f"The shape of {self.input.name!r} must be {_in_words(self.input.shape)}, where n "
                f"is the batch size. Received: {_shown(shape)}"
            )

    def _flat(self, data: Any, shape: list[int]) -> list[Any]:
        """Returns the values of a request as a flat list of numbers."""
        if not isinstance(data, list):
            raise InferenceError(
                f"The data of {self.input.name!r} must be a list. "
                f"Received: {_type_in_words(type(data))}"
            )
        values = data
        if values and isinstance(values[0], list):
            values = self._unnested(values, shape)
        if len(values) != math.prod(shape):
            raise InferenceError(
                f"The data of {self.input.name!r} must be {math.prod(shape):,} values for its "
                f"shape {_shown(shape)}. Received: {len(values):,}"
            )
        is_whole = self.input.datatype in _WHOLE_NUMBERS
        others = set(map(type, values)) - ({int} if is_whole else {int, float})
        if others:
            raise InferenceError(
                f"The data of {self.input.name!r} must be {'integers' if is_whole else 'numbers'}. "
                f"Received: {_type_in_words(min(others, key=str))}"
            )
        return values

    def _unnested(self, values: list[Any], shape: list[int]) -> list[Any]:
        if len(values) == shape[0]:
            for size in shape[1:]:
                if any(type(value) is not list or len(value) != size for value in values):
                    break
                values = list(chain.from_iterable(values))
            else:
                return values
        raise InferenceError(
            f"The data of {self.input.name!r} must be a flat list, or nested lists of its shape "
            f"{_shown(shape)}. Received: nested lists of another shape"
        )

    def _as_array(self, values: list[Any]) -> np.ndarray:
        is_whole = self.input.datatype in _WHOLE_NUMBERS
        least, greatest = self._bounds
        try:
            exact = np.array(values, "int64" if is_whole else "float64")
        except OverflowError:
            raise self._out_of_range(max(values, key=abs)) from None
        with np.errstate(over="ignore"):
            # Check the rounded values: a value that rounds to a bound is valid.
            array = exact if is_whole else exact.astype(self.input.dtype)
        within = (array >= least) & (array <= greatest)
        if not within.all():
            raise self._out_of_range(exact[~within][0].item())
        return array.astype(self.input.dtype)

    def _out_of_range(self, value: float) -> InferenceError:
        least, greatest = self._bounds
        return InferenceError(
            f"The values of {self.input.name!r} must be from {least} to {greatest}. "
            f"Received: {_shown(value)}"
        )


class OnnxRuntime(MLModel):
    """MLServer runtime that serves a folder of ONNX files with the Open Inference Protocol.

    A request has one input tensor and may select a signature, e.g.
    `{"parameters": {"signature": "encode"}}`; the default is `serving_default`. In the model
    settings, `parameters.uri` is the folder and `parameters.extra["max_megabytes"]` the maximum
    size of a response, by default 64.
    """

    signatures: dict[str, Signature]

    async def load(self) -> bool:
        """Opens the ONNX files.

        Raises:
            ValueError: If a file is not an export of keras_vq.
        """
        parameters = self._settings.parameters
        paths = sorted(Path(parameters.uri).glob("*.onnx"), key=_default_first)
        self.signatures = {path.stem: Signature(path) for path in paths}
        most = (parameters.extra or {}).get("max_megabytes", DEFAULT_MEGABYTES)
        self._most_bytes = most * MEGABYTE
        self.inputs = [s.input.metadata(s.name) for s in self.signatures.values()]
        self.outputs = [s.output.metadata(s.name) for s in self.signatures.values()]
        # One thread per block instead of several, because that is faster with many clients.
        self._threads = ThreadPoolExecutor(_cores(), thread_name_prefix="onnxruntime")
        return True

    async def unload(self) -> bool:
        """Shuts down the thread pool."""
        threads = getattr(self, "_threads", None)  # not set if a file could not be opened
        if threads is not None:
            threads.shutdown(wait=False)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Runs inference for a request.

        Raises:
            InferenceError: If the request is invalid, or the output is not finite.
            MLServerError: If the response would be too long (status 413).
        """
        signature = self._chosen(payload)
        self._check(payload, signature)
        loop = asyncio.get_running_loop()
        values = await loop.run_in_executor(self._threads, signature.read, payload.inputs[0])
        answers = await asyncio.gather(
            *(
                loop.run_in_executor(self._threads, signature.answer, values[i : i + _BLOCK])
                for i in range(0, len(values), _BLOCK)
            )
        )
        output = await loop.run_in_executor(self._threads, signature.response, answers)
        return InferenceResponse(model_name=self.name, outputs=[output])

    def _chosen(self, payload: InferenceRequest) -> Signature:
        asked = getattr(payload.parameters, "signature", None)
        name = _DEFAULT_SIGNATURE if asked is None else asked
        if isinstance(name, str):
            found = self.signatures.get(name) or self.signatures.get(_OTHER_NAMES.get(name, name))
            if found is not None:
                return found
        example = json.dumps({"parameters": {"signature": next(iter(self.signatures))}})
        raise InferenceError(
            f"The signature must be one of {', '.join(self.signatures)}. Select it in the request "
            f"parameters, for example {example}. Received: {_shown(name)}"
        )

    def _check(self, payload: InferenceRequest, signature: Signature) -> None:
        if not _ID.fullmatch(payload.id or ""):
            raise InferenceError(
                "The id of a request must be at most 256 printable ASCII characters without "
                f"spaces. Received: {_shown(payload.id)}"
            )
        if len(payload.inputs) != 1:
            raise InferenceError(
                f"A request for {signature.name!r} must have one input, {signature.input.name!r}. "
                f"Received: {len(payload.inputs)} inputs"
            )
        asked = [output.name for output in payload.outputs or []]
        if set(asked) - {signature.output.name}:
            raise InferenceError(
                f"The output name of {signature.name!r} must be {signature.output.name!r}. "
                f"Received: {_shown(asked)}"
            )
        self._check_length(payload.inputs[0].shape, signature)

    def _check_length(self, shape: list[int], signature: Signature) -> None:
        count = shape[0] if shape else 0
        if count > 1 and signature.bytes_of_answer(count) > self._most_bytes:
            most = max(1, self._most_bytes // signature.bytes_of_answer(1))
            raise MLServerError(
                f"The response of {signature.name!r} must have at most "
                f"{self._most_bytes // MEGABYTE} megabytes. Send a batch size of at most {most:,}. "
                f"Received: {_shown(count)}",
                413,
            )


def _shown(value: Any) -> str:
    """Formats a value of a request for an error message, truncated if it is long."""
    if isinstance(value, list):
        start = ", ".join(_shown(item) for item in value[:8])
        return f"[{start}{', ...' if len(value) > 8 else ''}]"
    text = repr(value[:64] if isinstance(value, str) else value)
    return text if len(text) <= 64 else f"{text[:64]} ..."


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Errors are sent to the client, so onnxruntime need not log them.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the exception classes of onnxruntime are private
        raise ValueError(f"onnxruntime failed to load {path}: {_first_line(error)}") from error


def _tensor(found: Any, path: Path) -> Tensor:
    batch, *sizes = found.shape or [None]
    is_free = not isinstance(batch, int)
    if found.type not in _TYPES or not is_free or not all(isinstance(s, int) for s in sizes):
        raise ValueError(
            f"An exported tensor must have one of the types {', '.join(_TYPES)}, a batch axis of "
            "any size and other axes of fixed sizes. "
            f"Received: {found.name!r} of {found.type} {found.shape} in {path}"
        )
    return Tensor(found.name, *_TYPES[found.type], tuple(sizes))


def _bounds(session: Any, tensor: Tensor, path: Path) -> tuple[float, float]:
    """Returns the valid range of an input, from the metadata of the file or the dtype."""
    text = session.get_modelmeta().custom_metadata_map.get(_BOUNDS, "[null, null]")
    limits = np.iinfo if tensor.datatype in _WHOLE_NUMBERS else np.finfo
    of_type = limits(tensor.dtype)
    try:
        least, greatest = json.loads(text)
        least = of_type.min if least is None else least
        greatest = of_type.max if greatest is None else greatest
        if not least <= greatest:
            raise ValueError
    except (ValueError, TypeError):
        raise ValueError(
            f"{_BOUNDS} of an exported file must be a JSON list of the minimum and maximum value "
            f"of its input, or null. Received: {text!r} in {path}"
        ) from None
    return least, greatest


def _default_first(path: Path) -> tuple[bool, str]:
    return path.stem != _DEFAULT_SIGNATURE, path.stem


def _cores() -> int:
    """Returns the number of CPU cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_words(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(['n', *map(str, shape)])}]"


def _type_in_words(kind: type) -> str:
    names = {
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number with a fraction",
        list: "a list",
        dict: "an object",
    }
    return names.get(kind, "null")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
