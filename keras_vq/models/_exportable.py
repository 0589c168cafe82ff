"""Export of models for inference without Keras."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras import ops

from keras_vq._types import Shape, Tensor
from keras_vq.export import Signature, TensorSpec, export_model
from keras_vq.export.formats import ONE_EXPORT
from keras_vq.models._inference import BatchedInference


class Exportable(BatchedInference):
    """Base class with the export of a model."""

    reconstruction_shape: Shape | None

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        *,
        precision: str = "float32",
        calibration_inputs: Any = None,
        overwrite: bool = False,
    ) -> Path:
        """Exports the model for inference without Keras.

        In every format the model has the functions `encode` (inputs to codes, or to latents in
        models without a codebook), `decode` (codes or latents to reconstruction) and
        `serving_default` (inputs to reconstruction), for batches of any size. `signatures()`
        returns the names, dtypes, shapes and ranges of their inputs and outputs.

        - `"tf_saved_model"`: a folder in the layout of TensorFlow Serving, with warm-up requests.
          Each export adds a version to the folder `filepath`.
        - `"litert"`: one `.tflite` file of built-in operations.
        - `"onnx"`: a folder with one file per function.
        - `"openvino"`: a folder with one `.xml` and one `.bin` file per function.

        TensorFlow writes SavedModel and LiteRT; on another backend this takes place in a separate
        process and needs a few seconds more. An existing export at `filepath` is replaced only when
        the new one is complete.

        Args:
            filepath: String or path. File or folder to write.
            format: String. One of the four formats. Defaults to `"tf_saved_model"`.
            verbose: Boolean. Whether to print the path of the export. Defaults to `None`, for
                `False`.
            input_signature: `None`: the signatures of the model are fixed.
            precision: String. `"float32"`; for OpenVINO also `"float16"` (weights only); for LiteRT
                also `"float16"`, `"int8_weights"`, `"int8_dynamic"`, `"int8_convolutions"` and
                `"int16_convolutions"` (int8 weights, 8-bit or 16-bit activations, nearest-code
                search in float32) or `"int8_full"` (search in int8 as well). Defaults to
                `"float32"`.
            calibration_inputs: Training inputs, of which the first 128 determine the ranges of
                activations. Required for `"int8_convolutions"`, `"int16_convolutions"` and
                `"int8_full"`. Defaults to `None`.
            overwrite: Boolean. Whether to replace an existing export at `filepath`; a SavedModel
                gets a new version instead. Defaults to `False`.

        Returns:
            Path of the file, the folder, or the version folder of a SavedModel.

        Raises:
            ValueError: If the model is not built, or an argument is invalid.
            ExportError: If the format lacks an operation of the model.
            ImportError: If a package is missing; the message names the extra that installs it.
        """
        if input_signature is not None:
            raise ValueError(
                "`input_signature` must be None, because the exported signatures are those of "
                f"`signatures()`. Received: {input_signature!r}"
            )
        with ONE_EXPORT:
            written = export_model(
                self, self.signatures(), filepath, format, precision, calibration_inputs, overwrite
            )
        if verbose:
            print(f"Exported to {str(written)!r}.")
        return written

    def signatures(self) -> list[Signature]:
        """Returns the functions of an exported model, with the specifications of their tensors.

        Raises:
            ValueError: If the model is not built, or the shape of its inputs is unknown.
        """
        shape = [size for size in self._example_shape or () if size is not None]
        if not self.built or not shape or None in (self._example_shape or ()):
            received = f"shape {self.input_shape}" if self.built else "an unbuilt model"
            raise ValueError(
                "The input shape of an exported model must be known. Add an Input of that shape to "
                f"the encoder, and fit the model or call it on a batch. Received: {received}"
            )
        inputs = TensorSpec("inputs", "float32", tuple(shape), self._input_bounds())
        encode, decode = self._encode_batch, self._decode_batch
        latents = self._exported_latents(self._made_of(encode, inputs))
        made = TensorSpec("reconstruction", "float32", self._made_of(decode, latents), (None, None))
        return [
            Signature("encode", encode, inputs, latents),
            Signature("decode", decode, latents, made),
            Signature("serving_default", self._reconstruct_batch, inputs, made),
        ]

    def _input_bounds(self) -> tuple[float | None, float | None]:
        """Returns the range of the decoder outputs, if these have the shape of the inputs."""
        if self.reconstruction_shape != self._example_shape:
            return None, None
        low, high = (None if math.isinf(bound) else bound for bound in self._value_range())
        return low, high

    def _made_of(self, method: Callable[[Tensor], Tensor], given: TensorSpec) -> tuple[int, ...]:
        """Returns the output shape of a method for one input, or for the latents of one input."""
        zeros = ops.zeros((1, *given.shape), given.dtype)
        return tuple(method(zeros).shape[1:])

    def _exported_latents(self, shape: tuple[int, ...]) -> TensorSpec:
        return TensorSpec("latents", "float32", shape, (None, None))
