"""Base class of models that reconstruct images: loss terms, training step, inference, export."""

import operator
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_vq import _validation, backend
from keras_vq._building import build_part
from keras_vq._inputs import (
    as_array,
    check_not_nested,
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
from keras_vq.models._ranges import PROBABILITIES, Range, output_range
from keras_vq.models.presets import BundledPresets, load_preset, save_preset
from keras_vq.quantizers.base import Quantizer


class ReconstructionModel(Model):
    """Base class of models that encode images to latents and decode latents to images.

    `fit(x)` trains the model to reconstruct `x`; `fit(x, y)` trains it to predict `y` from `x`,
    e.g. for denoising or super-resolution. `compile(loss=...)` sets the reconstruction term to any
    Keras loss; without it, the model uses `_default_loss`. Logs, history and `evaluate` report
    every term of the loss.

    A subclass implements `_build_parts`, `call` (reconstructs a batch) and `_encode_batch`. It may
    override `_loss_names` and `_loss_terms` (logged terms) and `_latent_loss` (an additional loss
    of the latents).

    Args:
        encoder: Layer or model that maps images to latents.
        decoder: Layer or model that maps latents to images.
        **kwargs: Arguments of `keras.Model`.
    """

    built: bool  # typed here, because Keras is untyped

    _loss_names: tuple[str, ...] = ("reconstruction_loss",)
    # Layers that are constructor arguments, configuration entries and attributes of the same name.
    _part_names: tuple[str, ...] = ("encoder", "decoder")

    def __init__(self, encoder: keras.Layer, decoder: keras.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = check_layer("encoder", encoder)
        self.decoder = check_layer("decoder", decoder)
        self.loss_trackers = [keras.metrics.Mean(name=name) for name in self._loss_names]
        self.has_regularizers = False
        # Shape of one reconstruction, once the decoder is built.
        self.reconstruction_shape: Shape | None = None

    # --- hooks of subclasses

    def _build_parts(self, input_shape: Shape) -> None:
        """Builds the encoder, the decoder and the parts in between for batches of images."""
        raise NotImplementedError

    def _default_loss(self) -> keras.losses.Loss:
        """Returns the reconstruction loss that is used when `compile` receives none."""
        return keras.losses.MeanSquaredError()

    def _reconstruction_scale(self) -> Tensor | float:
        """Returns the factor by which the default reconstruction loss is multiplied."""
        return 1.0

    def _loss_terms(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Computes the logged loss terms other than the reconstruction.

        Args:
            outputs: Dictionary. Output of `call`.

        Returns:
            Dictionary of scalars whose keys are the remaining `_loss_names`.
        """
        del outputs
        return {}

    def _latent_loss(self, outputs: dict[str, Tensor]) -> Tensor | float:
        """Computes an additional loss of the latents, such as a KL divergence. Zero by default.

        It is added to the reconstruction term and to the losses that layers add.

        Args:
            outputs: Dictionary. Output of `call`.

        Returns:
            Scalar.
        """
        del outputs
        return 0.0

    def _encode_batch(self, images: Tensor) -> Tensor:
        """Encodes a batch of images to latents in the form that `_decode_batch` takes."""
        raise NotImplementedError

    def _decode_batch(self, latents: Tensor) -> Tensor:
        """Decodes a batch of latents to images."""
        return self.decoder(latents, training=False)

    def _reconstruct_batch(self, images: Tensor) -> Tensor:
        """Reconstructs a batch of images in inference mode."""
        return self._decode_batch(self._encode_batch(images))

    def _interpolate_batch(self, latents: Tensor) -> Tensor:
        """Decodes a batch of interpolated latents to images."""
        return self._decode_batch(latents)

    # --- training

    def train_step(self, *state_and_data: Any) -> Any:
        """Runs one training step on a batch.

        If the batch has no targets, the inputs are the targets. The rest is the training step of
        Keras, with loss scaling, gradient accumulation and compilation. A step that loss scaling
        skips also leaves the state of quantizers unchanged.

        Args:
            *state_and_data: `(data,)` on TensorFlow and PyTorch, `(state, data)` on JAX.

        Returns:
            Dictionary of logs; on JAX a tuple of the logs and the new state.
        """
        *state, data = state_and_data
        data = self._with_target(data)
        if not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return super().train_step(*state, data)
        # Codebooks are updated in the forward pass, also in steps that loss scaling skips later.
        return backend.train_step_with_rollback(
            super().train_step, (*state, data), self, self._quantizer_state()
        )

    def _quantizer_state(self) -> list[Any]:
        """Returns the non-trainable weights of all quantizers, such as EMA statistics."""
        layers = [layer for layer in backend.nested_layers(self) if isinstance(layer, Quantizer)]
        weights = [weight for layer in layers for weight in layer.non_trainable_weights]
        return list({id(weight): weight for weight in weights}.values())

    def test_step(self, *state_and_data: Any) -> Any:
        """Runs one evaluation step on a batch; see `train_step`."""
        *state, data = state_and_data
        return super().test_step(*state, self._with_target(data))

    def _with_target(self, data: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        images, target, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        check_not_nested("x", images)
        check_not_nested("y", target)
        # Static shapes are checked during tracing, at no cost per step.
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
        """Computes the loss of a batch and updates the metric of each loss term.

        Args:
            x: Inputs.
            y: Targets. If it is `None`, the inputs are the targets.
            y_pred: Dictionary. Output of `call`.
            sample_weight: Weights of the images in the reconstruction term, of shape `(batch,)`, or
                `None`.
            training: Boolean. Whether the loss is computed for a training step. Defaults to `True`.

        Returns:
            Scalar float32 tensor, divided by the number of replicas on TensorFlow.
        """
        target = x if y is None else y
        replicas = backend.loss_divisor()
        reconstruction = self._reconstruction_loss(target, y_pred["reconstruction"], sample_weight)
        terms = {"reconstruction_loss": reconstruction, **self._loss_terms(y_pred)}
        if self.has_regularizers:
            terms["regularization_loss"] = self._regularization_loss()
        for tracker in self.loss_trackers:
            tracker.update_state(terms[tracker.name], sample_weight=ops.shape(x)[0])

        # `losses` of the whole model: on JAX those of a part are empty outside its call.
        loss = reconstruction + self._latent_loss(y_pred) + sum(self.losses, start=0.0)
        return loss / replicas

    def _reconstruction_loss(
        self, target: Tensor, reconstruction: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Computes the reconstruction term: the loss of `compile`, or else the default loss."""
        if self._has_own_targets():
            check_not_labels(target, tuple(reconstruction.shape))
        if self._is_likelihood():
            # PyTorch rejects targets that resampling or rounding moved outside [0, 1].
            target = ops.clip(ops.cast(target, reconstruction.dtype), *PROBABILITIES)
        # Cancels the division by replicas in Keras losses: `compute_loss` divides the total.
        replicas = backend.loss_divisor()
        if self.loss is not None:
            sample_weight = _over_values(self.loss, target, reconstruction, sample_weight)
            return replicas * backend.compiled_loss(self, target, reconstruction, sample_weight)
        # Subtraction would silently broadcast one channel to three.
        check_image_shape(tuple(target.shape), tuple(reconstruction.shape[1:]), "y", _MADE)
        loss = self._default_loss()
        sample_weight = _over_values(loss, target, reconstruction, sample_weight)
        scale = replicas * self._reconstruction_scale()
        return loss(target, reconstruction, sample_weight) * scale

    def _layer_losses(self) -> Tensor:
        """Returns the sum of the losses that layers added, without weight regularizers."""
        added = sum(self.losses, start=0.0)
        return added - self._regularization_loss() if self.has_regularizers else added

    def _regularization_loss(self) -> Tensor:
        return sum((w.regularizer(w) for w in self._regularized_weights()), start=0.0)

    def _regularized_weights(self) -> list[Any]:
        return [weight for weight in self.trainable_weights if weight.regularizer is not None]

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Any, sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Updates the metrics of `compile(metrics=...)` with targets and reconstructions."""
        target = x if y is None else y
        return super().compute_metrics(x, target, y_pred["reconstruction"], sample_weight)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: Any = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> keras.callbacks.History:
        """Trains the model. Takes the arguments of `keras.Model.fit`.

        Args:
            x: Inputs of shape `(n, height, width, channels)`, or a dataset: a
                `keras.utils.PyDataset`, a `tf.data.Dataset`, a PyTorch `DataLoader`, an
                `ImageDataset` of `keras_vq.data`, or a generator of batches.
            y: Targets, e.g. for denoising. Defaults to `None`: the inputs are the targets.
            batch_size: Integer or `None`. Batch size of arrays and of an `ImageDataset`; do not set
                it if `x` yields batches. Defaults to `None`, which means 32.
            epochs: Integer. Number of passes over the data. Defaults to 1.
            verbose: See `keras.Model.fit`, as for all other arguments.
            callbacks: List of callbacks. Defaults to `None`.
            validation_split: Float. Share of the arrays, from the end, to evaluate after each
                epoch. Defaults to 0.
            validation_data: Inputs or `(x, y)` to evaluate after each epoch, or a dataset. Defaults
                to `None`.
            shuffle: Boolean. Whether to shuffle arrays in each epoch. Defaults to `True`.
            class_weight: Dictionary or `None`. Weights of classes. Defaults to `None`.
            sample_weight: Weights of the images in the reconstruction term, of shape `(n,)`, or
                `None`. Defaults to `None`.
            initial_epoch: Integer. Epoch at which to resume training. Defaults to 0.
            steps_per_epoch: Integer or `None`. Number of batches per epoch. Defaults to `None`:
                all of them.
            validation_steps: Integer or `None`. Number of batches per evaluation. Defaults to
                `None`: all of them.
            validation_batch_size: Integer or `None`. Defaults to `None`, which means `batch_size`.
            validation_freq: Integer. Number of epochs per evaluation. Defaults to 1.

        Returns:
            A `keras.callbacks.History` with every loss term of each epoch.

        Raises:
            ValueError: If there are no inputs, or their shape differs from the shape the model was
                built for; if inputs or targets contain NaN or infinity; if the targets are labels,
                or exceed the output range of the decoder; if the loss is a likelihood and the
                targets are not in [0, 1], or the outputs of the decoder are clipped or exceed
                [0, 1]; or if the loss becomes NaN or infinite.
        """
        x = for_keras(x, batch_size, shuffle)
        # The length of a data set may be unknown, where `len` raises a `TypeError`.
        if not is_array(x) and operator.length_hint(x, 1) == 0:
            raise ValueError("`x` holds no inputs. Received: an empty data set")
        check_not_nested("x", x)
        self._check_likelihood()
        x = self._checked(x, y, build=True)
        self._prepare_fit(x, y)
        y = _target_of_weights(x, y, sample_weight)
        validation_data = self._checked_validation(
            validation_data, validation_batch_size or batch_size
        )
        return super().fit(
            x,
            y,
            batch_size,
            epochs,
            verbose,
            callbacks,
            validation_split,
            validation_data,
            shuffle,
            class_weight,
            sample_weight,
            initial_epoch,
            steps_per_epoch,
            validation_steps,
            validation_batch_size,
            validation_freq,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Computes the loss and metrics on data. Takes the arguments of `keras.Model.evaluate`.

        Args:
            x: Inputs of shape `(n, height, width, channels)`, or a dataset as for `fit`.
            y: Targets. Defaults to `None`: the inputs are the targets.
            batch_size: Integer or `None`. Defaults to `None`, which means 32.
            verbose: See `keras.Model.evaluate`, as for all other arguments.
            sample_weight: Weights of the images in the reconstruction term, of shape `(n,)`, or
                `None`. Defaults to `None`.
            steps: Integer or `None`. Number of batches. Defaults to `None`: all of them.
            callbacks: List of callbacks. Defaults to `None`.
            return_dict: Boolean. Whether to return a dictionary. Defaults to `False`.
            **kwargs: Private arguments of Keras.

        Returns:
            A list of scalars, or a dictionary of scalars by name if `return_dict=True`.

        Raises:
            ValueError: As for `fit`.
        """
        x = self._checked(for_keras(x, batch_size), y)
        y = _target_of_weights(x, y, sample_weight)
        return super().evaluate(
            x, y, batch_size, verbose, sample_weight, steps, callbacks, return_dict, **kwargs
        )

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Runs one training step. Takes the arguments of `keras.Model.train_on_batch`."""
        self._check_batch(x, y)
        return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Evaluates one batch. Takes the arguments of `keras.Model.test_on_batch`."""
        self._check_batch(x, y)
        return super().test_on_batch(x, y, sample_weight, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Computes the outputs of `call` in batches. Takes the arguments of `keras.Model.predict`.

        Args:
            x: Inputs of shape `(n, height, width, channels)`, or a dataset as for `fit`.
            batch_size: Integer or `None`. Defaults to `None`, which means 32.
            verbose: See `keras.Model.predict`, as for all other arguments.
            steps: Integer or `None`. Number of batches. Defaults to `None`: all of them.
            callbacks: List of callbacks. Defaults to `None`.

        Returns:
            A dictionary of arrays, which have no rows if `x` has none.

        Raises:
            ValueError: If the inputs are an array of another shape, or contain NaN or infinity.
        """
        x = for_keras(x, batch_size)
        inputs = x
        if is_data_set(x):
            batch, x = first_batch(x)
            inputs, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        check_not_nested("x", inputs)
        if is_array(x):
            check_images(x, self.image_shape, "x")
            if x.shape[0] == 0:
                return of_no_rows(
                    super().predict,
                    x,
                    batch_size=batch_size,
                    verbose=verbose,
                    steps=steps,
                    callbacks=callbacks,
                )
        return super().predict(x, batch_size, verbose, steps, callbacks)

    def _checked(self, x: Any, y: Any, build: bool = False) -> Any:
        """Checks the arrays of `fit(x, y)`, or the first batch of a dataset.

        Args:
            x: Inputs, or a dataset.
            y: Targets. If it is `None`, the inputs are the targets.
            build: Boolean. Whether to build the model for these inputs if it is not built. Defaults
                to `False`.

        Returns:
            The inputs. A generator is replaced by one that yields the first batch again.
        """
        inputs, target = x, y
        is_batch = is_data_set(x)
        if is_batch:
            batch, x = first_batch(x)
            inputs, target, _ = keras.utils.unpack_x_y_sample_weight(batch)
        check_not_nested("x", inputs)
        check_not_nested("y", target)
        if is_batch:
            inputs, target = (part if part is None else to_numpy(part) for part in (inputs, target))
        if not is_array(inputs):
            return x
        check_not_empty(inputs, "x")
        spread = check_images(inputs, self.image_shape, "x", is_batch)
        if build and not self.built:
            self.build((None, *inputs.shape[1:]))
        if target is None:
            self._check_range("x", inputs, *spread)
        elif is_array(target):
            self._check_target(inputs, target)
        return x

    def _check_target(self, inputs: Any, target: Any) -> None:
        """Checks the shape, the values and the number of targets that are not the inputs."""
        made = self.reconstruction_shape
        check_not_empty(target, "y")
        if self._has_own_targets():
            check_not_labels(target, tuple(inputs.shape) if made is None else (None, *made))
        if self.loss is None:
            check_image_shape(tuple(target.shape), made, "y", _MADE)
        self._check_range("y", target, *check_images(target, None, "y"))
        if len(inputs) != len(target):
            raise ValueError(
                "`x` and `y` must have the same number of rows. "
                f"Received: {len(inputs)} and {len(target)}"
            )

    def _check_batch(self, x: Any, y: Any) -> None:
        """Checks one batch of NumPy arrays; skips tensors, to avoid a copy from their device."""
        check_not_nested("x", x)
        check_not_nested("y", y)
        if isinstance(x, np.ndarray) and (y is None or isinstance(y, np.ndarray)):
            self._checked(x, y)

    def _checked_validation(self, data: Any, batch_size: int | None) -> Any:
        """Checks `validation_data` of `fit` and returns it in a form that Keras takes."""
        if not isinstance(data, list | tuple):
            return data if data is None else self._checked(for_keras(data, batch_size), None)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._checked(x, y)
        if len(data) < 3:
            return data
        return x, _target_of_weights(x, y, sample_weight), sample_weight

    def _check_range(self, name: str, target: Any, least: float, greatest: float) -> None:
        """Checks that targets lie in the range of the decoder outputs and of a likelihood loss."""
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

        A user-defined loss may transform the targets, and a sparse loss takes class indices.
        """
        if self.loss is None:
            return True
        loss = _as_loss(self.loss)
        name = getattr(loss, "__name__", type(loss).__name__).lower()
        return (getattr(loss, "__module__", "") or "").startswith("keras") and "sparse" not in name

    def _is_likelihood(self) -> bool:
        """Returns whether the loss interprets targets as probabilities."""
        loss = self._default_loss() if self.loss is None else _as_loss(self.loss)
        return loss in (
            keras.losses.binary_crossentropy,
            keras.losses.binary_focal_crossentropy,
        ) or (isinstance(loss, _LIKELIHOODS))

    def _loss_name(self) -> str:
        loss = self._default_loss() if self.loss is None else _as_loss(self.loss)
        return str(getattr(loss, "name", getattr(loss, "__name__", loss)))

    def _takes_logits(self) -> bool:
        """Returns whether the loss of `compile` takes outputs as logits."""
        return bool(getattr(getattr(self, "loss", None), "from_logits", False))

    def _check_likelihood(self) -> None:
        """Rejects a likelihood loss of outputs that are clipped or that exceed [0, 1]."""
        if not self._is_likelihood():
            return
        if isinstance(last_layer(self.decoder), StraightThroughClip):
            raise ValueError(
                f"The loss {self._loss_name()!r} takes outputs as probabilities and has no "
                "gradient where they are exactly 0 or 1, as clipped ones are. Build the networks "
                'with `output_activation="sigmoid"`, or compile with another loss. Received: a '
                "decoder that ends with a StraightThroughClip"
            )
        made = output_range(self.decoder)
        if made not in (PROBABILITIES, Range()) and not self._takes_logits():
            raise ValueError(
                f"The loss {self._loss_name()!r} takes outputs as probabilities, in [0, 1]. Build "
                'the networks with `output_activation="sigmoid"`, or compile with another loss. '
                f"Received: a decoder with outputs in {made}"
            )

    def _prepare_fit(self, x: Any, y: Any) -> None:
        """Prepares the model for training data, e.g. measures their variance. Called by `fit`."""

    # --- batched inference: NumPy arrays or tensors in, NumPy arrays out

    def encode(self, images: Any, batch_size: int = 128) -> Any:
        """Encodes images to latents.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a dataset that yields such
                batches.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.
        """
        return self._in_batches(self._encode_batch, images, batch_size, self.image_shape)

    def decode(self, latents: Any, batch_size: int = 128) -> np.ndarray:
        """Decodes latents to images.

        Args:
            latents: Array of shape `(n, ...)`, in the form that `encode` returns.
            batch_size: Integer. Number of images per batch. Defaults to 128.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.
        """
        return self._in_batches(self._decode_batch, self._checked_latents(latents), batch_size)

    def _checked_latents(self, latents: Any) -> Any:
        """Returns latents as an array, after a check of their shape."""
        latents = latents if is_array(latents) else np.asarray(latents)
        if self.built:
            expected = self._latents_taken()
            check_image_shape(tuple(latents.shape), expected, "latents", _TAKES, is_image=False)
        return latents

    def reconstruct(self, images: Any, batch_size: int = 128) -> np.ndarray:
        """Reconstructs images: `decode(encode(images))`.

        Args:
            images: Array of shape `(n, height, width, channels)`, or a dataset that yields such
                batches.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.
        """
        return self._in_batches(self._reconstruct_batch, images, batch_size, self.image_shape)

    def interpolate(
        self, start: Any, end: Any, steps: int = 8, batch_size: int = 128
    ) -> np.ndarray:
        """Interpolates linearly between the latents of two sets of images, and decodes the results.

        Args:
            start: Array of shape `(n, height, width, channels)`, with values in [0, 1].
            end: Array of the same shape.
            steps: Integer, at least 2. Number of images per interpolation, including both ends.
                Defaults to 8.
            batch_size: Integer. Number of images per batch. Defaults to 128.

        Returns:
            Float32 array of shape `(n, steps, height, width, channels)`.

        Raises:
            ValueError: If `start` and `end` differ in shape, or `steps` is below 2.
        """
        if _validation.check_positive_integer("steps", steps) < 2:
            raise ValueError(f"`steps` must be at least 2, the two ends. Received: {steps}")
        start, end = as_array("start", start), as_array("end", end)
        if tuple(start.shape) != tuple(end.shape):
            raise ValueError(
                "`start` and `end` must be arrays of one shape. "
                f"Received: {tuple(start.shape)} and {tuple(end.shape)}"
            )
        first = self._in_batches(self._latents_batch, start, batch_size, self.image_shape)
        last = self._in_batches(self._latents_batch, end, batch_size, self.image_shape)
        shares = np.linspace(0.0, 1.0, steps, dtype="float32")
        shares = shares.reshape((1, steps) + (1,) * (first.ndim - 1))
        latents = first[:, None] * (1.0 - shares) + last[:, None] * shares
        latents = latents.reshape((-1, *first.shape[1:]))
        images = self._in_batches(self._interpolate_batch, latents, batch_size)
        return images.reshape((len(first), steps, *images.shape[1:]))

    def _latents_batch(self, images: Tensor) -> Tensor:
        """Encodes a batch of images to latents before quantization, for interpolation."""
        return self._encode_batch(images)

    def _in_batches(
        self,
        method: Callable[[Tensor], Tensor],
        inputs: Any,
        batch_size: int,
        expected: Shape | None = None,
    ) -> np.ndarray:
        """Applies a compiled method of the model to an array or a dataset, batch by batch.

        Args:
            method: Method of this model that takes one batch and changes no state.
            inputs: Array of shape `(n, ...)`, or a dataset.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`.
            expected: Shape of one image, with `None` for an axis of any size; `None` for latents or
                codes, whose shape is not checked. Defaults to `None`.

        Returns:
            NumPy array of the concatenated results.

        Raises:
            ValueError: If the model is not built, a dataset is empty, or the inputs have another
                shape or contain NaN or infinity.
        """
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} has no weights yet: fit it, or call it on a batch. "
                "Received: an unbuilt model"
            )
        name = "latents" if expected is None else "images"
        if is_data_set(inputs):
            _validation.check_positive_integer("batch_size", batch_size)
            parts = [
                self._apply_to_batch(method, self._checked_inputs(batch, expected, name, True))
                for batch in inputs_of(inputs, batch_size, name)
            ]
            if not parts:
                raise ValueError(f"`{name}` holds no batches. Received: an empty data set")
            return np.concatenate(parts)
        inputs = self._checked_inputs(as_array(name, inputs), expected, name)
        return self._apply_in_batches(method, inputs, batch_size)

    def _checked_inputs(
        self, inputs: Any, expected: Shape | None, name: str, is_batch: bool = False
    ) -> Any:
        """Checks images or latents, and warns of images far outside the decoder's output range."""
        if expected is None:
            check_values(inputs, name)
            return inputs
        greatest = max(map(abs, check_images(inputs, expected, name, is_batch)))
        made = output_range(self.decoder)
        if greatest > 8 * max(map(abs, made)):
            warnings.warn(
                f"`{name}` has values up to {greatest:g}, far outside the decoder's outputs, "
                f"{made}. Divide 8-bit images by 255.",
                stacklevel=4,
            )
        return inputs

    # --- export

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        *,
        precision: str = "float32",
        calibration_images: Any = None,
        overwrite: bool = False,
    ) -> Path:
        """Exports the model for inference without Keras.

        In every format the model has the functions `encode` (image to codes, or to latents in
        models without a codebook), `decode` (codes or latents to image) and `serving_default`
        (image to reconstruction), for batches of any size. `signatures()` returns the names,
        dtypes, shapes and ranges of their inputs and outputs.

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
            calibration_images: Training images, of which the first 128 determine the ranges of
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
                "`input_signature` must be None, because an exported model has the signatures that "
                f"`signatures()` returns. Received: {input_signature!r}"
            )
        written = export_model(
            self, self.signatures(), filepath, format, precision, calibration_images, overwrite
        )
        if verbose:
            print(f"Exported to {str(written)!r}.")
        return written

    def signatures(self) -> list[Signature]:
        """Returns the functions of an exported model, with the specifications of their tensors.

        Raises:
            ValueError: If the model is not built, or the image size is unknown.
        """
        sizes = [size for size in self.image_shape or () if size is not None]
        if not self.built or len(sizes) != 3:
            received = f"images of shape {self.image_shape}" if self.built else "an unbuilt model"
            raise ValueError(
                "An exported model needs images of one known shape: give the encoder an Input of "
                f"that shape, and fit the model or call it on a batch. Received: {received}"
            )
        image = TensorSpec("image", "float32", tuple(sizes), (0.0, 1.0))
        encode, decode = self._encode_batch, self._decode_batch
        latents = self._exported_latents(self._made_of(encode, image))
        made = TensorSpec("image", "float32", self._made_of(decode, latents), (None, None))
        return [
            Signature("encode", encode, image, latents),
            Signature("decode", decode, latents, made),
            Signature(
                "serving_default",
                self._reconstruct_batch,
                image,
                made._replace(name="reconstruction"),
            ),
        ]

    def _made_of(self, method: Callable[[Tensor], Tensor], given: TensorSpec) -> tuple[int, ...]:
        """Returns the output shape of a method for one image, or for the latents of one image."""
        zeros = ops.zeros((1, *given.shape), given.dtype)
        return tuple(method(zeros).shape[1:])

    def _exported_latents(self, shape: tuple[int, ...]) -> TensorSpec:
        return TensorSpec("latents", "float32", shape, (None, None))

    # --- presets

    # Description, figures and versions of the bundled presets of the class, by name.
    presets = BundledPresets()

    @classmethod
    def from_preset(cls, preset: str | os.PathLike[str]) -> Self:
        """Loads a model that is bundled with the package or was saved by `save_to_preset`.

        The preset may have been saved on any backend. `ReconstructionModel.from_preset` loads
        presets of every class; a subclass loads only instances of itself.

        Args:
            preset: String or path. A name, `"vae_mnist"`, `"vqvae_cifar10"` or `"vqvae_mnist"`; or
                a folder (`"./vae_mnist"` if it has the name of a bundled preset). `cls.presets`
                lists the names.

        Returns:
            The model, not compiled: call `compile` before further training.

        Raises:
            ValueError: If the name or folder does not exist, a file is missing or differs from the
                one that was saved, or the model is of another class.

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
        """Saves the model to a folder, from which `from_preset` loads it on any backend.

        The folder contains `model.keras`, without the optimizer, and `preset.json`, with the class,
        the versions, the hash of the model file and the arguments below. The folder is written
        atomically.

        Args:
            folder: String or path. A new or empty folder.
            figures: Dictionary of measured results, numbers or strings by name. Defaults to `None`.
            description: String. Description of the model. Defaults to `None`.
            overwrite: Boolean. Whether to replace an existing preset; other files in the folder are
                kept. Defaults to `False`.

        Returns:
            The folder.

        Raises:
            ValueError: If the model is not built, an argument is invalid, or the folder is in use.

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
        """Input shape of the encoder without the batch axis, or `None` if it is not known yet."""
        shape = getattr(self.encoder, "input_shape", None) if self.encoder.built else None
        return tuple(shape[1:]) if isinstance(shape, tuple) else None

    def build(self, input_shape: Shape) -> None:
        """Builds the model for batches of images of shape `input_shape`, unless it is built.

        Raises:
            ValueError: If the model was built for images of another shape.
        """
        if self.built:
            check_image_shape(tuple(input_shape), self.image_shape, "input_shape")
            return
        self._build_parts(input_shape)
        self.has_regularizers = bool(self._regularized_weights())
        if self.has_regularizers:
            self.loss_trackers.append(keras.metrics.Mean(name="regularization_loss"))
        self.built = True

    def _build_encoder(self, input_shape: Shape) -> Shape:
        """Builds the encoder for images of shape `input_shape` and returns its output shape."""
        return build_part(self.encoder, input_shape)

    def _build_decoder(self, latent_shape: Shape) -> None:
        """Builds the decoder for latents of shape `latent_shape`.

        Raises:
            ValueError: If the decoder was built for another shape.
        """
        takes = getattr(self.decoder, "input_shape", None) if self.decoder.built else None
        if isinstance(takes, tuple):
            check_image_shape(latent_shape, takes[1:], "latents", _TAKES)
        self.reconstruction_shape = build_part(self.decoder, latent_shape)[1:]
        self._latents_built = tuple(latent_shape[1:])

    def _latents_taken(self) -> Shape:
        """Returns the latent shape of one image, with `None` for axes of any size."""
        takes = getattr(self.decoder, "input_shape", None)
        if isinstance(takes, tuple):
            return tuple(takes[1:])
        return (None,) * (len(self._latents_built) - 1) + self._latents_built[-1:]

    def _build_if_known(self) -> None:
        """Builds the model if the encoder already has an input shape."""
        if self.image_shape is not None and not self.built:
            self.build((None, *self.image_shape))


_MADE = "the decoder makes"
_TAKES = "the decoder takes"
_LIKELIHOODS = (
    BernoulliNegativeLogLikelihood,
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
)


def check_layer(name: str, part: Any) -> keras.Layer:
    """Returns `part` if it is a Keras layer.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(part, keras.Layer):
        raise ValueError(f"`{name}` must be a Keras layer or model. Received: {part!r}")
    return part


def _as_loss(loss: Any) -> Any:
    """Returns a loss of `compile` as a loss object or function; other values are unchanged."""
    return keras.losses.get(loss) if isinstance(loss, str | dict) or callable(loss) else loss


def _target_of_weights(x: Any, y: Any, sample_weight: Any) -> Any:
    # Keras ignores the sample weights of an array without targets.
    return x if y is None and sample_weight is not None and is_array(x) else y


def last_layer(model: Any) -> Any:
    """Returns the last layer of a model, descending into nested models."""
    while getattr(model, "layers", None):
        model = model.layers[-1]
    return model


def _over_values(
    loss: Any, target: Tensor, reconstruction: Tensor, sample_weight: Tensor | None
) -> Tensor | None:
    """Reshapes sample weights of shape `(batch,)` to broadcast over the axes of the loss values.

    Keras multiplies the two, and a loss such as the squared error has one value per pixel.
    """
    function = loss.call if isinstance(loss, keras.losses.Loss) else keras.losses.get(loss)
    if sample_weight is None or len(sample_weight.shape) != 1 or not callable(function):
        return sample_weight
    if isinstance(function, keras.losses.Loss):
        function = function.call
    axes = len(ops.convert_to_tensor(function(target, reconstruction)).shape)
    return ops.reshape(sample_weight, (-1,) + (1,) * (axes - 1))
