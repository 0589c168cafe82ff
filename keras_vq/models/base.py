"""What all models share: one training step over named loss terms, and batched methods."""

import os
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_vq import _backend, _validation
from keras_vq._building import build_part
from keras_vq._model import Model, of_no_rows
from keras_vq._types import Shape, Tensor
from keras_vq.export import Signature, TensorSpec, export_model
from keras_vq.layers.straight_through_clip import StraightThroughClip
from keras_vq.losses.bernoulli import BernoulliNegativeLogLikelihood
from keras_vq.models._batches import first_targets, is_array
from keras_vq.models._images import check_image_shape, check_images, check_not_empty, check_values
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
            x: Images in [0, 1], shape `(n, height, width, channels)`; or a data set of them.
            y: Images to make of them; the images themselves when None.
            batch_size: Images of a step, 32 when None; left out where `x` yields batches.
            epochs: Passes through the images.
            **kwargs: `validation_data`, `callbacks`, `verbose` and so on.

        Returns:
            The history: every term of the loss, by epoch.

        Raises:
            ValueError: If there are no images, if they have a shape that the model was not built
                for, if pixels are NaN or infinite, if the loss wants probabilities and pixels are
                clipped, or if the loss stops being finite.
        """
        self._check_fit_data(x, y)
        self._check_likelihood()
        if not self.built:
            self._build_for(x)
        self.prepare_fit(x, y)
        y = _target_of_weights(x, y, kwargs.get("sample_weight"))
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple) and len(validation) == 3:
            kwargs["validation_data"] = (
                validation[0],
                _target_of_weights(*validation),
                validation[2],
            )
        return super().fit(x, y, batch_size, epochs, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Loss, its terms and metrics on images; takes what `keras.Model.evaluate` takes.

        Args:
            x: Images in [0, 1], shape `(n, height, width, channels)`; or a data set of them.
            y: Images to make of them; the images themselves when None.
            **kwargs: `batch_size`, `return_dict` and so on.

        Returns:
            A list of numbers, or with `return_dict=True` a dictionary by name.

        Raises:
            ValueError: If there are no images, if they have a shape that the model was not built
                for, or if pixels are NaN or infinite.
        """
        if is_array(x):
            check_not_empty(x, "x")
            check_images(x, self.image_shape, "x")
        y = _target_of_weights(x, y, kwargs.get("sample_weight"))
        return super().evaluate(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """What `call` returns for images; takes what `keras.Model.predict` takes.

        Args:
            x: Images in [0, 1], shape `(n, height, width, channels)`; or a data set of them.
            **kwargs: `batch_size`, `verbose` and so on.

        Returns:
            A dictionary of arrays; of no images arrays of no rows.

        Raises:
            ValueError: If images have a shape that the model was not built for, or if pixels are
                NaN or infinite.
        """
        if is_array(x):
            check_images(x, self.image_shape, "x")
            if x.shape[0] == 0:
                return of_no_rows(super().predict, x, **kwargs)
        return super().predict(x, **kwargs)

    def _check_fit_data(self, x: Any, y: Any) -> None:
        if is_array(x):
            check_not_empty(x, "x")
            check_images(x, self.image_shape, "x")
        if is_array(y):
            made = getattr(self.decoder, "output_shape", None) if self.built else None
            if self._compile_loss is None and isinstance(made, tuple):
                check_image_shape(tuple(y.shape), tuple(made[1:]), "y", _MADE)
            check_not_empty(y, "y")
            check_images(y, None, "y")
            if is_array(x) and len(x) != len(y):
                raise ValueError(
                    "`x` and `y` must hold as many images as each other. "
                    f"Received: {len(x)} and {len(y)}"
                )
        if hasattr(x, "__len__") and len(x) == 0:
            raise ValueError("`x` holds no images. Received: an empty data set")

    def _check_likelihood(self) -> None:
        """Refuses clipped pixels to a loss of probabilities, which has no gradient at 0 and 1."""
        loss = self.default_loss() if self._compile_loss is None else keras.losses.get(self.loss)
        is_of_probabilities = loss is keras.losses.binary_crossentropy or (
            isinstance(loss, (BernoulliNegativeLogLikelihood, keras.losses.BinaryCrossentropy))
        )
        if is_of_probabilities and isinstance(last_layer(self.decoder), StraightThroughClip):
            raise ValueError(
                f"The loss {getattr(loss, 'name', 'binary_crossentropy')!r} takes pixels as "
                "probabilities and has no gradient where they are exactly 0 or 1, as clipped ones "
                'are. Build the networks with `output_activation="sigmoid"`, or compile with '
                "another loss. Received: a decoder that ends with a StraightThroughClip"
            )

    def _build_for(self, x: Any) -> None:
        images = first_targets(x, None, batches=1)
        if images is not None:
            self.build((None, *images.shape[1:]))

    def prepare_fit(self, x: Any, y: Any) -> None:
        """Measures what the model wants to know of the data it is about to be fitted to."""

    # --- batched methods: NumPy arrays or tensors in, NumPy arrays out

    def encode(self, images: Any, batch_size: int = 128) -> np.ndarray:
        """Latents of images: what `decode` takes.

        Args:
            images: Array of shape `(n, height, width, channels)`, pixels in [0, 1].
            batch_size: Images computed at a time.

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
            images: Array of shape `(n, height, width, channels)`, pixels in [0, 1].
            batch_size: Images computed at a time.

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
        start, end = (part if is_array(part) else np.asarray(part) for part in (start, end))
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
        """Applies a method of one batch to an array, compiled, a batch at a time."""
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} has no weights yet: fit it, or call it on a batch. "
                "Received: an unbuilt model"
            )
        if not is_array(inputs):
            inputs = np.asarray(inputs)
        if expected is None:
            check_values(inputs, "latents")
        else:
            check_images(inputs, expected, "images")
        return self.apply_in_batches(method, inputs, batch_size)

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
        build_part(self.decoder, latent_shape)
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


def check_layer(name: str, part: Any) -> keras.Layer:
    """The part if it is a layer.

    Raises:
        ValueError: If it isn't.
    """
    if not isinstance(part, keras.Layer):
        raise ValueError(f"`{name}` must be a Keras layer or model. Received: {part!r}")
    return part


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
