"""What all models share: one training step over named loss terms, and batched methods."""

import os
import warnings
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_vq import _backend, _validation
from keras_vq._building import build_part
from keras_vq._inputs import (
    as_array,
    first_batch,
    for_keras,
    inputs_of,
    is_array,
    is_data_set,
    to_numpy,
)
from keras_vq._model import Model, of_no_rows
from keras_vq._types import Shape, Tensor
from keras_vq.export import Signature, TensorSpec, export_model
from keras_vq.layers.straight_through_clip import StraightThroughClip
from keras_vq.losses.bernoulli import BernoulliNegativeLogLikelihood
from keras_vq.models._batches import check_not_labels
from keras_vq.models._images import check_image_shape, check_images, check_not_empty, check_values
from keras_vq.models._ranges import PROBABILITIES, output_range
from keras_vq.models.presets import load_preset, save_preset
from keras_vq.quantizers.base import Quantizer


class ReconstructionModel(Model):
    """Abstract model that encodes images to latents and decodes latents to images.

    `fit(x)` learns to reconstruct x; `fit(x, y)` learns to make y of x (denoising,
    super-resolution). `compile(optimizer, loss=...)` takes the reconstruction term, any Keras
    loss; without it the model's own default serves. Logs, history and `evaluate` name every
    term of the loss.

    A subclass builds its parts (`build_parts`), names its terms (`loss_names`, `loss_terms`),
    may add to the loss what latents cost (`latent_loss`), and says how a batch is reconstructed
    (`call`) and encoded (`encode_batch`).

    Args:
        encoder: Layer or model: images -> latents.
        decoder: Layer or model: latents -> images.
        **kwargs: Arguments of `keras.Model`.
    """

    loss_names: tuple[str, ...] = ("reconstruction_loss",)
    # Parts that the constructor takes and the configuration holds, under the same names.
    part_names: tuple[str, ...] = ("encoder", "decoder")
    # Methods behind the exported `encode` and `decode`.
    exported_methods = ("encode_batch", "decode_batch")

    def __init__(self, encoder: keras.Layer, decoder: keras.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = check_layer("encoder", encoder)
        self.decoder = check_layer("decoder", decoder)
        self.loss_trackers = [keras.metrics.Mean(name=name) for name in self.loss_names]
        self.has_regularizers = False
        # Shape of one reconstruction, once the decoder is built.
        self.reconstruction_shape: Shape | None = None

    # --- what a subclass implements

    def build_parts(self, input_shape: Shape) -> None:
        """Builds encoder, decoder and what lies between, for a batch of images."""
        raise NotImplementedError

    def default_loss(self) -> keras.losses.Loss:
        """The reconstruction term when `compile` is given none."""
        return keras.losses.MeanSquaredError()

    def reconstruction_scale(self) -> Tensor | float:
        """By what the default reconstruction term is multiplied."""
        return 1.0

    def loss_terms(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms to log beside the reconstruction: scalars by their names in `loss_names`.

        Args:
            outputs: What `call` returned.
        """
        del outputs
        return {}

    def latent_loss(self, outputs: dict[str, Tensor]) -> Tensor | float:
        """What the loss has beside the reconstruction and what layers added.

        Args:
            outputs: What `call` returned.
        """
        del outputs
        return 0.0

    def encode_batch(self, images: Tensor) -> Tensor:
        """Latents of a batch of images: what `decode_batch` takes."""
        raise NotImplementedError

    def decode_batch(self, latents: Tensor) -> Tensor:
        """Images of a batch of latents."""
        return self.decoder(latents, training=False)

    def reconstruct_batch(self, images: Tensor) -> Tensor:
        """Reconstructions of a batch of images."""
        return self.decode_batch(self.encode_batch(images))

    def interpolate_batch(self, latents: Tensor) -> Tensor:
        """Images of latents that lie between encodings."""
        return self.decode_batch(latents)

    # --- training

    def train_step(self, *state_and_data: Any) -> Any:
        """One step of training on a batch; the same on every backend.

        Turns the batch into (inputs, target, weights), so that without targets the inputs are
        their own; then forward pass, `compute_loss`, gradients, update and metrics are Keras's,
        with all it knows of loss scaling, gradient accumulation and compilation.

        Args:
            *state_and_data: `(data,)` on TensorFlow and PyTorch, `(state, data)` on JAX.

        Returns:
            Logs; on JAX a pair of logs and the new state.
        """
        *state, data = state_and_data
        data = self._with_target(data)
        if not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return super().train_step(*state, data)
        # Quantizers learn in the forward pass, also of a step that loss scaling then skips.
        return _backend.train_step_without_skipped(
            super().train_step, (*state, data), self, self._quantizer_state()
        )

    def _quantizer_state(self) -> list[Any]:
        """Returns the weights of quantizers that do not learn by gradient."""
        layers = [layer for layer in self._flatten_layers() if isinstance(layer, Quantizer)]
        weights = [weight for layer in layers for weight in layer.non_trainable_weights]
        return list({id(weight): weight for weight in weights}.values())

    def test_step(self, *state_and_data: Any) -> Any:
        """One step of evaluation on a batch; see `train_step`."""
        *state, data = state_and_data
        return super().test_step(*state, self._with_target(data))

    def _with_target(self, data: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        images, target, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        # Shapes are known when the step is traced, so this costs a step nothing.
        check_image_shape(tuple(images.shape), self.image_shape, "x")
        return images, images if target is None else target, sample_weight

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of a batch, each of whose terms is tracked under its name.

        Args:
            x: Inputs.
            y: Targets; the inputs when None.
            y_pred: What `call` returned.
            sample_weight: Weights of the images in the reconstruction term, shape `(batch,)`.
            training: Whether the loss is for a training step.

        Returns:
            Scalar float32 tensor.
        """
        target = x if y is None else y
        replicas = _backend.loss_replicas()
        reconstruction = self.reconstruction_loss(target, y_pred["reconstruction"], sample_weight)
        terms = {"reconstruction_loss": reconstruction, **self.loss_terms(y_pred)}
        if self.has_regularizers:
            terms["regularization_loss"] = self._regularization_loss()
        for tracker in self.loss_trackers:
            tracker.update_state(terms[tracker.name], sample_weight=ops.shape(x)[0])

        # The losses of the whole model: a part's own are empty outside its call on JAX.
        loss = reconstruction + self.latent_loss(y_pred) + sum(self.losses, start=0.0)
        return loss / replicas

    def reconstruction_loss(
        self, target: Tensor, reconstruction: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """The reconstruction term of a batch: that of `compile`, or the model's default."""
        if self._has_own_targets():
            check_not_labels(target, tuple(reconstruction.shape))
        if self._is_likelihood():
            # PyTorch refuses what resampling or rounding leaves outside.
            target = ops.clip(ops.cast(target, reconstruction.dtype), *PROBABILITIES)
        # A Keras loss comes divided by the replicas, as the whole loss is in the end.
        replicas = _backend.loss_replicas()
        if self._compile_loss is not None:
            sample_weight = _over_values(self.loss, target, reconstruction, sample_weight)
            return replicas * self._compile_loss(target, reconstruction, sample_weight)
        # Subtraction would stretch one channel over three, and say nothing.
        check_image_shape(tuple(target.shape), tuple(reconstruction.shape[1:]), "y", _MADE)
        loss = self.default_loss()
        sample_weight = _over_values(loss, target, reconstruction, sample_weight)
        scale = replicas * self.reconstruction_scale()
        return loss(target, reconstruction, sample_weight) * scale

    def layer_losses(self) -> Tensor:
        """Sum of what layers added in the forward pass, penalties of weights left out."""
        added = sum(self.losses, start=0.0)
        return added - self._regularization_loss() if self.has_regularizers else added

    def _regularization_loss(self) -> Tensor:
        return sum((w.regularizer(w) for w in self._regularized_weights()), start=0.0)

    def _regularized_weights(self) -> list[Any]:
        return [weight for weight in self.trainable_weights if weight.regularizer is not None]

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Any, sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Updates metrics of `compile(metrics=...)` with targets and reconstructions."""
        target = x if y is None else y
        return super().compute_metrics(x, target, y_pred["reconstruction"], sample_weight)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the model; takes what `keras.Model.fit` takes.

        Args:
            x: Inputs of shape `(n, height, width, channels)`; or a data set: a
                `keras.utils.PyDataset`, a `tf.data.Dataset`, a PyTorch `DataLoader`, an
                `ImageDataset` of `keras_vq.data`, or a generator of batches.
            y: Targets, for denoising and the like; the inputs themselves when None.
            batch_size: Rows of a step, 32 when None; left out where `x` yields batches.
            epochs: Passes through the images.
            **kwargs: `validation_data`, `callbacks`, `verbose` and so on.

        Returns:
            The history: every term of the loss, by epoch.

        Raises:
            ValueError: If there are no inputs, they have a shape for which the model was not
                built, or values that are NaN or infinite; if targets are labels, are out of range
                of the decoder's outputs, or are no probabilities where the loss takes them as such;
                if the loss takes outputs as probabilities and they are clipped; or if the loss
                becomes NaN or infinite.
        """
        x = for_keras(x, batch_size, kwargs.get("shuffle", True))
        if not is_array(x) and hasattr(x, "__len__") and len(x) == 0:
            raise ValueError("`x` holds no inputs. Received: an empty data set")
        self._check_likelihood()
        x = self._checked(x, y, build=True)
        self.prepare_fit(x, y)
        y = _target_of_weights(x, y, kwargs.get("sample_weight"))
        if "validation_data" in kwargs:
            kwargs["validation_data"] = self._checked_validation(
                kwargs["validation_data"], kwargs.get("validation_batch_size") or batch_size
            )
        return super().fit(x, y, batch_size, epochs, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Computes loss and metrics on data; takes what `keras.Model.evaluate` takes.

        Args:
            x: Inputs of shape `(n, height, width, channels)`; or a data set, as for `fit`.
            y: Targets; the inputs themselves when None.
            **kwargs: `batch_size`, `return_dict` and so on.

        Returns:
            A list of numbers, or with `return_dict=True` a dictionary by name.

        Raises:
            ValueError: See `fit`.
        """
        x = self._checked(for_keras(x, kwargs.get("batch_size")), y)
        y = _target_of_weights(x, y, kwargs.get("sample_weight"))
        return super().evaluate(x, y, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Runs one training step on a batch; takes what `keras.Model.train_on_batch` takes."""
        self._check_batch(x, y)
        return super().train_on_batch(x, y, *args, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Computes loss and metrics of a batch; takes what `keras.Model.test_on_batch` takes."""
        self._check_batch(x, y)
        return super().test_on_batch(x, y, *args, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Computes what `call` returns; takes what `keras.Model.predict` takes.

        Args:
            x: Inputs of shape `(n, height, width, channels)`; or a data set, as for `fit`.
            **kwargs: `batch_size`, `verbose` and so on.

        Returns:
            A dictionary of arrays; of no images arrays of no rows.

        Raises:
            ValueError: See `fit`.
        """
        x = for_keras(x, kwargs.get("batch_size"))
        if is_array(x):
            check_images(x, self.image_shape, "x")
            if x.shape[0] == 0:
                return of_no_rows(super().predict, x, **kwargs)
        return super().predict(x, **kwargs)

    def _checked(self, x: Any, y: Any, build: bool = False) -> Any:
        """Checks the arrays of `fit(x, y)`, or the first batch of a data set.

        Args:
            x: Inputs, or a data set.
            y: Targets; the inputs when None.
            build: Whether to build the model for these inputs if it is not built.

        Returns:
            The inputs; of a generator another one, with the first batch put back.
        """
        inputs, target = x, y
        if is_data_set(x):
            batch, x = first_batch(x)
            inputs, target, _ = keras.utils.unpack_x_y_sample_weight(batch)
            inputs, target = (part if part is None else to_numpy(part) for part in (inputs, target))
        if not is_array(inputs):
            return x
        check_not_empty(inputs, "x")
        spread = check_images(inputs, self.image_shape, "x")
        if build and not self.built:
            self.build((None, *inputs.shape[1:]))
        if target is None:
            self._check_range("x", inputs, *spread)
        elif is_array(target):
            self._check_target(inputs, target)
        return x

    def _check_target(self, inputs: Any, target: Any) -> None:
        """Checks targets of their own: shape, values and number."""
        made = self.reconstruction_shape
        check_not_empty(target, "y")
        if self._has_own_targets():
            check_not_labels(target, tuple(inputs.shape) if made is None else (None, *made))
        if self._compile_loss is None:
            check_image_shape(tuple(target.shape), made, "y", _MADE)
        self._check_range("y", target, *check_images(target, None, "y"))
        if len(inputs) != len(target):
            raise ValueError(
                "`x` and `y` must have the same number of rows. "
                f"Received: {len(inputs)} and {len(target)}"
            )

    def _check_batch(self, x: Any, y: Any) -> None:
        """Checks one batch of NumPy arrays; tensors would have to leave their device."""
        if isinstance(x, np.ndarray) and (y is None or isinstance(y, np.ndarray)):
            self._checked(x, y)

    def _checked_validation(self, data: Any, batch_size: int | None) -> Any:
        """Checks `validation_data` of `fit`; returns it as Keras takes it."""
        if not isinstance(data, tuple):
            return data if data is None else self._checked(for_keras(data, batch_size), None)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._checked(x, y)
        if len(data) < 3:
            return data
        return x, _target_of_weights(x, y, sample_weight), sample_weight

    def _check_range(self, name: str, target: Any, least: float, greatest: float) -> None:
        """Checks that outputs can reach the targets, and that a likelihood is defined for them."""
        is_same_kind = self.reconstruction_shape in (None, tuple(target.shape[1:]))
        if not self._has_own_targets() or not is_same_kind:
            return
        scale = "Divide 8-bit values by 255, or scale" if greatest > 8 else "Scale"
        wanted = output_range(self.decoder)
        if self._is_likelihood() and not PROBABILITIES.has(least, greatest):
            raise ValueError(
                f"`{name}` must have values in [0, 1]: the loss {self._loss_name()!r} takes them "
                f"as probabilities. {scale} the data to [0, 1], or compile with a loss of real "
                f"numbers. Received: values from {least:g} to {greatest:g}"
            )
        if not wanted.has(least, greatest):
            raise ValueError(
                f"`{name}` must have values in {wanted}, the range of the decoder's outputs. "
                f"{scale} the data to that range, or build the networks with another "
                '`output_activation`: "tanh" for [-1, 1], None for any values. '
                f"Received: values from {least:g} to {greatest:g}"
            )

    def _has_own_targets(self) -> bool:
        """Returns whether the loss compares outputs with targets of the same kind.

        A loss function of the user's may transform the targets, and a sparse one takes class
        numbers.
        """
        if self._compile_loss is None:
            return True
        loss = _as_loss(self.loss)
        name = getattr(loss, "__name__", type(loss).__name__).lower()
        return (getattr(loss, "__module__", "") or "").startswith("keras") and "sparse" not in name

    def _is_likelihood(self) -> bool:
        """Returns whether the loss takes targets as probabilities."""
        loss = self.default_loss() if self._compile_loss is None else _as_loss(self.loss)
        return loss in (
            keras.losses.binary_crossentropy,
            keras.losses.binary_focal_crossentropy,
        ) or (isinstance(loss, _LIKELIHOODS))

    def _loss_name(self) -> str:
        loss = self.default_loss() if self._compile_loss is None else _as_loss(self.loss)
        return str(getattr(loss, "name", getattr(loss, "__name__", loss)))

    def _check_likelihood(self) -> None:
        """Refuses clipped pixels to a loss of probabilities, which has no gradient at 0 and 1."""
        if self._is_likelihood() and isinstance(last_layer(self.decoder), StraightThroughClip):
            raise ValueError(
                f"The loss {self._loss_name()!r} takes outputs as probabilities and has no "
                "gradient where they are exactly 0 or 1, as clipped ones are. Build the networks "
                'with `output_activation="sigmoid"`, or compile with another loss. Received: a '
                "decoder that ends with a StraightThroughClip"
            )

    def prepare_fit(self, x: Any, y: Any) -> None:
        """Measures what the model wants to know of the data it is about to be fitted to."""

    # --- batched methods: NumPy arrays or tensors in, NumPy arrays out

    def encode(self, images: Any, batch_size: int = 128) -> np.ndarray:
        """Latents of images: what `decode` takes.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a data set of such batches.
            batch_size: Integer. Batch size; a data set has its own.

        Returns:
            Float32 array of shape `(n, ...)`.
        """
        return self.in_batches("encode_batch", images, batch_size, self.image_shape)

    def decode(self, latents: Any, batch_size: int = 128) -> np.ndarray:
        """Images of latents.

        Args:
            latents: Array of shape `(n, ...)`, as `encode` returns them.
            batch_size: Images computed at a time.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.
        """
        latents = latents if is_array(latents) else np.asarray(latents)
        if self.built:
            expected = self._latents_taken()
            check_image_shape(tuple(latents.shape), expected, "latents", _TAKES, is_image=False)
        return self.in_batches("decode_batch", latents, batch_size)

    def reconstruct(self, images: Any, batch_size: int = 128) -> np.ndarray:
        """What the model makes of images: `decode(encode(images))`.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a data set of such batches.
            batch_size: Integer. Batch size; a data set has its own.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.
        """
        return self.in_batches("reconstruct_batch", images, batch_size, self.image_shape)

    def interpolate(
        self, start: Any, end: Any, steps: int = 8, batch_size: int = 128
    ) -> np.ndarray:
        """Images along the straight lines between the latents of two sets of images.

        Args:
            start: Array of shape `(n, height, width, channels)`, pixels in [0, 1].
            end: Array of the same shape.
            steps: Images of each line, both ends counted; at least 2.
            batch_size: Images computed at a time.

        Returns:
            Float32 array of shape `(n, steps, height, width, channels)`.

        Raises:
            ValueError: If the sets differ in shape, or `steps` is below 2.
        """
        if _validation.check_positive_integer("steps", steps) < 2:
            raise ValueError(f"`steps` must be at least 2, the two ends. Received: {steps}")
        start, end = as_array("start", start), as_array("end", end)
        if tuple(start.shape) != tuple(end.shape):
            raise ValueError(
                "`start` and `end` must be arrays of one shape. "
                f"Received: {tuple(start.shape)} and {tuple(end.shape)}"
            )
        first = self.in_batches("continuous_latents", start, batch_size, self.image_shape)
        last = self.in_batches("continuous_latents", end, batch_size, self.image_shape)
        shares = np.linspace(0.0, 1.0, steps, dtype="float32")
        shares = shares.reshape((1, steps) + (1,) * (first.ndim - 1))
        latents = first[:, None] * (1.0 - shares) + last[:, None] * shares
        latents = latents.reshape((-1, *first.shape[1:]))
        images = self.in_batches("interpolate_batch", latents, batch_size)
        return images.reshape((len(first), steps, *images.shape[1:]))

    def continuous_latents(self, images: Tensor) -> Tensor:
        """Latents of a batch among which one may interpolate."""
        return self.encode_batch(images)

    def in_batches(
        self, method: str, inputs: Any, batch_size: int, expected: Shape | None = None
    ) -> np.ndarray:
        """Applies a method of one batch to an array or a data set, compiled, in batches."""
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} has no weights yet: fit it, or call it on a batch. "
                "Received: an unbuilt model"
            )
        name = "latents" if expected is None else "images"
        if is_data_set(inputs):
            _validation.check_positive_integer("batch_size", batch_size)
            parts = [
                self.apply_to_batch(method, self._checked_inputs(batch, expected, name))
                for batch in inputs_of(inputs, batch_size)
            ]
            if not parts:
                raise ValueError(f"`{name}` holds no batches. Received: an empty data set")
            return np.concatenate(parts)
        inputs = self._checked_inputs(as_array(name, inputs), expected, name)
        return self.apply_in_batches(method, inputs, batch_size)

    def _checked_inputs(self, inputs: Any, expected: Shape | None, name: str) -> Any:
        """Checks inputs or latents, and warns of values far outside a bounded decoder's outputs."""
        if expected is None:
            check_values(inputs, name)
            return inputs
        greatest = max(map(abs, check_images(inputs, expected, name)))
        made = output_range(self.decoder)
        if greatest > 8 * max(map(abs, made)):
            warnings.warn(
                f"`{name}` has values up to {greatest:g}, far outside the decoder's outputs, "
                f"{made}. Divide 8-bit images by 255.",
                stacklevel=4,
            )
        return inputs

    # --- leaving Python

    def export(
        self,
        path: str | os.PathLike[str],
        format: str = "tf_saved_model",
        precision: str = "float32",
        calibration_images: Any = None,
        overwrite: bool = False,
    ) -> Path:
        """Writes the model for programs that know nothing of Keras.

        Whatever the format, the model offers `encode` (image -> codes, or latents where there is
        no codebook), `decode` (back to an image) and `serving_default` (image ->
        reconstruction), for batches of any size. `signatures()` gives the names, types, shapes
        and ranges of what goes in and out.

        - `"tf_saved_model"`: a folder in TensorFlow Serving's layout; a next version is added to
          the folder `path`, with warm-up requests.
        - `"litert"`: one `.tflite` file of built-in operations.
        - `"onnx"`: a folder with a file for each function.
        - `"openvino"`: the same, as `.xml` and `.bin`.

        SavedModel and LiteRT are written by TensorFlow: on another backend in a process of its
        own, which takes some seconds. What was at `path` before is replaced only once the new is
        complete.

        Args:
            path: File or folder to write.
            format: One of the four.
            precision: `"float32"`; for OpenVINO also `"float16"` (of weights); for LiteRT
                `"float16"`, `"int8_weights"`, `"int8_dynamic"`, `"int8_convolutions"` and
                `"int16_convolutions"` (weights in int8, activations in 8 or 16 bits, the search for
                codes in float32) or `"int8_full"`.
            calibration_images: Training images, of which the first 128 set the ranges of
                activations for the last three.
            overwrite: Whether to replace what an export wrote at `path` (a SavedModel is not
                replaced: it gets another version).

        Returns:
            What was written: the file, the folder, or the folder of the SavedModel's version.

        Raises:
            ValueError: If the model is not built, or `path` or an argument is not right.
            ExportError: If the format has no operation for something in the model.
            ImportError: If a package is missing; it says which extra has it.
        """
        return export_model(
            self, self.signatures(), path, format, precision, calibration_images, overwrite
        )

    def signatures(self) -> list[Signature]:
        """What an exported model offers: functions with the names and types of their tensors."""
        sizes = [size for size in self.image_shape or () if size is not None]
        if not self.built or len(sizes) != 3:
            received = f"images of shape {self.image_shape}" if self.built else "an unbuilt model"
            raise ValueError(
                "An exported model needs images of one known shape: give the encoder an Input of "
                f"that shape, and fit the model or call it on a batch. Received: {received}"
            )
        image = TensorSpec("image", "float32", tuple(sizes), (0.0, 1.0))
        encode, decode = self.exported_methods
        latents = self._exported_latents(self._made_of(encode, image))
        made = TensorSpec("image", "float32", self._made_of(decode, latents), (None, None))
        return [
            Signature("encode", encode, image, latents),
            Signature("decode", decode, latents, made),
            Signature(
                "serving_default", "reconstruct_batch", image, made._replace(name="reconstruction")
            ),
        ]

    def _made_of(self, method: str, given: TensorSpec) -> tuple[int, ...]:
        """Shape of what a method makes of one image, or of its latents."""
        zeros = ops.zeros((1, *given.shape), given.dtype)
        return tuple(getattr(self, method)(zeros).shape[1:])

    def _exported_latents(self, shape: tuple[int, ...]) -> TensorSpec:
        return TensorSpec("latents", "float32", shape, (None, None))

    # --- presets

    @classmethod
    def from_preset(cls, preset: str | os.PathLike[str]) -> Self:
        """A trained model that comes with the package, or that `save_to_preset` wrote.

        Any backend may have trained it. `ReconstructionModel.from_preset` takes a preset of
        whatever class; a class takes those of its own.

        Args:
            preset: A name, `"vae_mnist"`, `"vqvae_cifar10"` or `"vqvae_mnist"`; or a folder
                (`"./vae_mnist"`, where it is called like one of them).

        Returns:
            The model, not compiled: to train it further, `compile` it first.

        Raises:
            ValueError: If there is no such name or folder, the folder lacks a file, the file is
                not the one that was saved, or it holds a model of another class.

        Example:
            >>> import numpy as np, keras_vq
            >>> model = keras_vq.VQVAE.from_preset("vqvae_mnist")
            >>> model.encode_to_codes(np.zeros((2, 28, 28, 1), "float32")).shape
            (2, 7, 7)
        """
        return load_preset(cls, preset)

    def save_to_preset(
        self,
        folder: str | os.PathLike[str],
        figures: dict[str, Any] | None = None,
        description: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Writes the model to a folder from which `from_preset` loads it, under any backend.

        The folder holds `model.keras`, without the optimizer, and `preset.json`: class, versions
        and hash of the file, with what is given here. It is there whole or not at all.

        Args:
            folder: A new or empty folder.
            figures: What was measured: numbers or texts, by name.
            description: What the model is, in words.
            overwrite: Whether to replace a preset that is there; other files beside it stay.

        Returns:
            The folder.

        Raises:
            ValueError: If the model is not built, an argument is not right, or the folder is
                taken.

        Example:
            >>> import tempfile, keras_vq
            >>> model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), latent_dim=4))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     saved = model.save_to_preset(f"{folder}/mine", figures={"test MSE": 0.05})
            ...     again = keras_vq.Autoencoder.from_preset(saved)
            >>> again.image_shape
            (8, 8, 1)
        """
        return save_preset(self, folder, figures, description, overwrite)

    # --- structure

    @property
    def image_shape(self) -> Shape | None:
        """Shape of one image that the encoder takes, or None while it takes any."""
        shape = getattr(self.encoder, "input_shape", None) if self.encoder.built else None
        return tuple(shape[1:]) if isinstance(shape, tuple) else None

    def build(self, input_shape: Shape) -> None:
        """Builds the model for batches of images of shape `input_shape`."""
        self.build_parts(input_shape)
        self.has_regularizers = bool(self._regularized_weights())
        if self.has_regularizers:
            self.loss_trackers.append(keras.metrics.Mean(name="regularization_loss"))
        self.built = True

    def build_encoder(self, input_shape: Shape) -> Shape:
        """Builds the encoder for a batch of images; returns the shape of what it makes."""
        return build_part(self.encoder, input_shape)

    def build_decoder(self, latent_shape: Shape) -> None:
        """Builds the decoder for a batch of latents.

        Raises:
            ValueError: If it was built for others.
        """
        takes = getattr(self.decoder, "input_shape", None) if self.decoder.built else None
        if isinstance(takes, tuple):
            check_image_shape(latent_shape, takes[1:], "latents", _TAKES)
        self.reconstruction_shape = build_part(self.decoder, latent_shape)[1:]
        self._latents_built = tuple(latent_shape[1:])

    def _latents_taken(self) -> Shape:
        """Returns the shape of latents of one image, None for sizes that may differ."""
        takes = getattr(self.decoder, "input_shape", None)
        if isinstance(takes, tuple):
            return tuple(takes[1:])
        return (None,) * (len(self._latents_built) - 1) + self._latents_built[-1:]

    def build_if_known(self) -> None:
        """Builds the model at once when the encoder already knows its images."""
        if self.image_shape is not None and not self.built:
            self.build((None, *self.image_shape))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        parts = {name: getattr(self, name) for name in self.part_names}
        return {
            **super().get_config(),
            **{name: keras.saving.serialize_keras_object(part) for name, part in parts.items()},
        }


_MADE = "the decoder makes"
_TAKES = "the decoder takes"
_LIKELIHOODS = (
    BernoulliNegativeLogLikelihood,
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
)


def check_layer(name: str, part: Any) -> keras.Layer:
    """The part if it is a layer.

    Raises:
        ValueError: If it isn't.
    """
    if not isinstance(part, keras.Layer):
        raise ValueError(f"`{name}` must be a Keras layer or model. Received: {part!r}")
    return part


def _as_loss(loss: Any) -> Any:
    """Returns the loss of `compile` as an object, or as it is where it is none of Keras's forms."""
    return keras.losses.get(loss) if isinstance(loss, str | dict) or callable(loss) else loss


def _target_of_weights(x: Any, y: Any, sample_weight: Any) -> Any:
    # Keras forgets the weights of an array that comes without a target.
    return x if y is None and sample_weight is not None and is_array(x) else y


def last_layer(model: Any) -> Any:
    """The layer at the end of a model of models."""
    while getattr(model, "layers", None):
        model = model.layers[-1]
    return model


def _over_values(
    loss: Any, target: Tensor, reconstruction: Tensor, sample_weight: Tensor | None
) -> Tensor | None:
    """Weights of images, with as many axes as the values that a loss takes the mean of.

    Keras multiplies the two, and a loss such as the squared error has a value for each pixel.
    """
    function = loss.call if isinstance(loss, keras.losses.Loss) else keras.losses.get(loss)
    if sample_weight is None or len(sample_weight.shape) != 1 or not callable(function):
        return sample_weight
    if isinstance(function, keras.losses.Loss):
        function = function.call
    axes = len(ops.convert_to_tensor(function(target, reconstruction)).shape)
    return ops.reshape(sample_weight, (-1,) + (1,) * (axes - 1))
