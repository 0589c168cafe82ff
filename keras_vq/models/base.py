"""Base class of models that reconstruct their inputs: loss terms and training step."""

import operator
from typing import Any, Literal, get_args

import keras
from keras import ops

from keras_vq import _validation, backend
from keras_vq._building import build_part
from keras_vq._inputs import (
    check_not_nested,
    first_batch,
    for_keras,
    is_array,
    is_data_set,
)
from keras_vq._model import of_no_rows
from keras_vq._types import Shape, Tensor
from keras_vq.models._arrays import DECODER_INPUTS, DECODER_OUTPUTS, check_inputs, check_shape
from keras_vq.models._batches import check_not_labels
from keras_vq.models._data_checks import DataChecks, target_of_weights
from keras_vq.models._exportable import Exportable
from keras_vq.models._preset_methods import HasPresets
from keras_vq.models._ranges import PROBABILITIES
from keras_vq.quantizers.base import Quantizer

TrainableParts = Literal["all", "decoder", "none"]


class ReconstructionModel(DataChecks, Exportable, HasPresets):
    """Base class of models that encode inputs to latents and decode latents to reconstructions.

    `fit(x)` trains the model to reconstruct `x`; `fit(x, y)` trains it to predict `y` from `x`,
    e.g. for denoising or super-resolution. `compile(loss=...)` sets the reconstruction term to any
    Keras loss; without it, the model uses its default loss. Logs, history and `evaluate` report
    every term of the loss.

    A subclass implements `_build_parts`, `call` (reconstructs a batch) and `_encode_batch`. It may
    override `_loss_names` and `_loss_terms` (logged terms) and `_latent_loss` (an additional loss
    of the latents).

    Args:
        encoder: Layer or model that maps inputs to latents.
        decoder: Layer or model that maps latents to reconstructions.
        provenance: Dictionary or `None`. Origin and preprocessing of a model that was converted by
            `from_pretrained`, saved with the model. Defaults to `None`.
        trainable_parts: String; see the property of the same name. Defaults to `"all"`.
        **kwargs: Arguments of `keras.Model`.

    Example:
        >>> import numpy as np, keras_vq
        >>> networks = keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=2)
        >>> model = keras_vq.Autoencoder(*networks)  # a subclass
        >>> model.reconstruct(np.zeros((3, 8, 8, 1), "float32")).shape
        (3, 8, 8, 1)
    """

    _loss_names: tuple[str, ...] = ("reconstruction_loss",)
    # Layers that are constructor arguments, configuration entries and attributes of the same name.
    _part_names: tuple[str, ...] = ("encoder", "decoder")

    def __init__(
        self,
        encoder: keras.Layer,
        decoder: keras.Layer,
        *,
        provenance: dict[str, Any] | None = None,
        trainable_parts: TrainableParts = "all",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.provenance = provenance
        self._trainable_parts = _checked_parts(trainable_parts)
        self.encoder = check_layer("encoder", encoder)
        self.decoder = check_layer("decoder", decoder)
        self.loss_trackers = [keras.metrics.Mean(name=name) for name in self._loss_names]
        self.has_regularizers = False
        # Shape of one reconstruction, once the decoder is built.
        self.reconstruction_shape: Shape | None = None

    @property
    def trainable_parts(self) -> TrainableParts:
        """Parts of the model that training changes; saved with the model.

        `"all"`; `"decoder"` for the decoder alone (and the discriminator of a `VQGAN`), so that
        codes and latents of images do not change; or `"none"`. Call `compile` after an assignment.
        """
        return self._trainable_parts

    @trainable_parts.setter
    def trainable_parts(self, parts: TrainableParts) -> None:
        self._trainable_parts = _checked_parts(parts)
        if self.built:
            self._set_trainable()

    def _set_trainable(self) -> None:
        """Freezes the parts that are not trained, and unfreezes the others."""
        decoding = (self.decoder, getattr(self, "discriminator", None))
        for layer in self.layers:
            layer.trainable = self.trainable_parts == "all" or (
                self.trainable_parts == "decoder" and any(layer is each for each in decoding)
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments, with the current `trainable_parts`."""
        changed = {"trainable_parts": self.trainable_parts}
        return super().get_config() | (changed if self.trainable_parts != "all" else {})

    # --- hooks of subclasses

    def _build_parts(self, input_shape: Shape) -> None:
        """Builds the encoder, the decoder and the parts in between for batches of inputs."""
        raise NotImplementedError

    def _default_loss(self) -> keras.losses.Loss:
        """Returns the reconstruction loss that is used when `compile` receives none."""
        return keras.losses.MeanSquaredError()

    def _default_loss_inputs(self, outputs: dict[str, Tensor]) -> Tensor:
        """Returns the output of `call` that the default loss compares with the targets."""
        return outputs["reconstruction"]

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

    def _objective(
        self,
        target: Tensor,
        outputs: dict[str, Tensor],
        reconstruction_loss: Tensor,
        sample_weight: Tensor | None,
    ) -> Tensor:
        """Computes the loss, without the losses that layers add.

        Args:
            target: Batch of targets.
            outputs: Dictionary. Output of `call`.
            reconstruction_loss: Scalar. Reconstruction term.
            sample_weight: Weights of the inputs, of shape `(batch,)`, or `None`.

        Returns:
            Scalar.
        """
        del target, sample_weight
        return reconstruction_loss + self._latent_loss(outputs)

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
        inputs, target, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        check_not_nested("x", inputs)
        check_not_nested("y", target)
        # Static shapes are checked during tracing, at no cost per step.
        check_shape(tuple(inputs.shape), self._example_shape, "x")
        return inputs, inputs if target is None else target, sample_weight

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
            sample_weight: Weights of the inputs in the reconstruction term, of shape `(batch,)`, or
                `None`.
            training: Boolean. Whether the loss is computed for a training step. Defaults to `True`.

        Returns:
            Scalar float32 tensor, divided by the number of replicas on TensorFlow.
        """
        target = x if y is None else y
        replicas = backend.loss_divisor()
        reconstruction = self._reconstruction_loss(target, y_pred, sample_weight)
        terms = {"reconstruction_loss": reconstruction, **self._loss_terms(y_pred)}
        if self.has_regularizers:
            terms["regularization_loss"] = self._regularization_loss()
        for tracker in self.loss_trackers:
            tracker.update_state(terms[tracker.name], sample_weight=ops.shape(x)[0])

        # `losses` of the whole model: on JAX those of a part are empty outside its call.
        objective = self._objective(target, y_pred, reconstruction, sample_weight)
        return (objective + sum(self.losses, start=0.0)) / replicas

    def _reconstruction_loss(
        self, target: Tensor, outputs: dict[str, Tensor], sample_weight: Tensor | None = None
    ) -> Tensor:
        """Computes the reconstruction term: the loss of `compile`, or else the default loss."""
        reconstruction = outputs["reconstruction"]
        if self._has_own_targets():
            check_not_labels(target, tuple(reconstruction.shape))
        if self._is_likelihood():
            # PyTorch's `BinaryCrossentropy` rejects targets that resampling moved outside [0, 1].
            target = ops.clip(ops.cast(target, reconstruction.dtype), *PROBABILITIES)
        # Cancels the division by replicas in Keras losses: `compute_loss` divides the total.
        replicas = backend.loss_divisor()
        if self.loss is not None:
            sample_weight = _over_values(self.loss, target, reconstruction, sample_weight)
            return replicas * backend.compiled_loss(self, target, reconstruction, sample_weight)
        # Subtraction would silently broadcast one channel to three.
        check_shape(tuple(target.shape), tuple(reconstruction.shape[1:]), "y", DECODER_OUTPUTS)
        loss, predicted = self._default_loss(), self._default_loss_inputs(outputs)
        sample_weight = _over_values(loss, target, predicted, sample_weight)
        scale = replicas * self._reconstruction_scale()
        return loss(target, predicted, sample_weight) * scale

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

    def _run_fit(self, arguments: dict[str, Any]) -> keras.callbacks.History:
        """Checks the data, and builds and prepares the model for it, before training."""
        x, y, batch_size = (arguments[name] for name in ("x", "y", "batch_size"))
        x = for_keras(x, batch_size, arguments["shuffle"])
        # The length of a data set may be unknown, where `len` raises a `TypeError`.
        if not is_array(x) and operator.length_hint(x, 1) == 0:
            raise ValueError("`x` must not be empty. Received: an empty data set")
        check_not_nested("x", x)
        self._check_likelihood()
        x = self._checked(x, y, build=True)
        self._prepare_fit(x, y)
        validation = self._checked_validation(
            arguments["validation_data"], arguments["validation_batch_size"] or batch_size
        )
        y = target_of_weights(x, y, arguments["sample_weight"])
        return super()._run_fit(arguments | {"x": x, "y": y, "validation_data": validation})

    def _run_evaluate(self, arguments: dict[str, Any]) -> Any:
        """Checks the data before evaluation."""
        x = self._checked(for_keras(arguments["x"], arguments["batch_size"]), arguments["y"])
        y = target_of_weights(x, arguments["y"], arguments["sample_weight"])
        return super()._run_evaluate(arguments | {"x": x, "y": y})

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

    def _run_predict(self, arguments: dict[str, Any]) -> Any:
        """Checks the inputs before prediction."""
        inputs = x = for_keras(arguments["x"], arguments["batch_size"])
        if is_data_set(x):
            batch, x = first_batch(x)
            inputs, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        check_not_nested("x", inputs)
        run = super()._run_predict
        if is_array(x):
            check_inputs(x, self._example_shape, "x")
            if x.shape[0] == 0:
                return of_no_rows(lambda row: run(arguments | {"x": row}), x)
        return run(arguments | {"x": x})

    def _prepare_fit(self, x: Any, y: Any) -> None:
        """Prepares the model for training data, e.g. measures their variance."""

    # --- structure

    def build(self, input_shape: Shape) -> None:
        """Builds the model for batches of inputs of shape `input_shape`, unless it is built.

        Raises:
            ValueError: If the model was built for inputs of another shape.
        """
        if self.built:
            check_shape(tuple(input_shape), self._example_shape, "input_shape")
            return
        self._build_parts(input_shape)
        self.has_regularizers = bool(self._regularized_weights())
        if self.has_regularizers:
            self.loss_trackers.append(keras.metrics.Mean(name="regularization_loss"))
        if self.trainable_parts != "all":  # keeps the layers that the user froze
            self._set_trainable()
        self.built = True

    def _build_encoder(self, input_shape: Shape) -> Shape:
        """Builds the encoder for inputs of shape `input_shape` and returns its output shape."""
        return build_part(self.encoder, input_shape)

    def _build_decoder(self, latent_shape: Shape) -> None:
        """Builds the decoder for latents of shape `latent_shape`.

        Raises:
            ValueError: If the decoder was built for another shape.
        """
        takes = getattr(self.decoder, "input_shape", None) if self.decoder.built else None
        if isinstance(takes, tuple):
            check_shape(latent_shape, takes[1:], "latents", DECODER_INPUTS)
        self.reconstruction_shape = build_part(self.decoder, latent_shape)[1:]
        self._latents_built = tuple(latent_shape[1:])

    def _build_if_known(self) -> None:
        """Builds the model if the encoder already has an input shape."""
        if self._example_shape is not None and not self.built:
            self.build((None, *self._example_shape))


def _checked_parts(parts: Any) -> TrainableParts:
    return _validation.check_choice("trainable_parts", parts, get_args(TrainableParts))


def check_layer(name: str, part: Any) -> keras.Layer:
    """Returns `part` if it is a Keras layer.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(part, keras.Layer):
        raise ValueError(f"`{name}` must be a Keras layer or model. Received: {part!r}")
    return part


def _over_values(
    loss: Any, target: Tensor, reconstruction: Tensor, sample_weight: Tensor | None
) -> Tensor | None:
    """Reshapes sample weights of shape `(batch,)` to broadcast over the axes of the loss values.

    Keras multiplies the two, and a loss such as the squared error has one value per position.
    """
    function = loss.call if isinstance(loss, keras.losses.Loss) else keras.losses.get(loss)
    if sample_weight is None or len(sample_weight.shape) != 1 or not callable(function):
        return sample_weight
    if isinstance(function, keras.losses.Loss):
        function = function.call
    axes = len(ops.convert_to_tensor(function(target, reconstruction)).shape)
    return ops.reshape(sample_weight, (-1,) + (1,) * (axes - 1))
