"""Base class of models with discrete latents (codes)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation, backend
from keras_vq._inputs import is_read_once
from keras_vq._types import Shape, Tensor
from keras_vq.export import TensorSpec
from keras_vq.metrics.code_usage import CodebookUsage, Perplexity
from keras_vq.models._arrays import check_shape, check_values, variance
from keras_vq.models._batches import first_targets
from keras_vq.models.base import ReconstructionModel
from keras_vq.quantizers.base import Quantizer

# A histogram of 2²⁰ codes takes 4 MiB; larger codebooks have no usage metrics.
MOST_CODES_COUNTED = 2**20
_BATCHES_MEASURED = 100


class CodeModel(ReconstructionModel):
    """Base class of models that encode inputs to codes at one or several scales.

    The loss is the reconstruction term plus the losses of the quantizers. The default
    reconstruction term is the mean squared error divided by the variance of the targets. Logs
    report the perplexity and the codebook usage of each scale.

    A subclass implements `_quantizers` (its quantizers), `_encode_batch` (inputs to codes) and
    `_lookup` (codes to latents).

    Args:
        encoder: Layer or model that takes the inputs.
        decoder: Layer or model that returns the reconstructions.
        data_variance: Float or `None`. Variance of the targets, by which the default loss is
            divided. If it is `None`, the variance is measured on the first data that are not
            constant, in `fit` or any other method that computes the loss, and saved with the
            weights. Defaults to `None`.
        **kwargs: Arguments of `keras.Model`.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)  # a subclass
        >>> model.code_shape, model.codebook_sizes
        ((2, 2), (16,))
    """

    _loss_names = ("reconstruction_loss", "quantization_loss")
    # `generate` raises an error without a prior.
    _needs_prior = True

    def __init__(
        self,
        encoder: keras.Layer,
        decoder: keras.Layer,
        data_variance: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, **kwargs)
        if data_variance is not None:
            _validation.check_positive("data_variance", data_variance)
        self.data_variance = data_variance
        # Read during tracing: decides whether the step measures the variance.
        self._variance_is_known = data_variance is not None

    # --- hooks of subclasses

    def _quantizers(self) -> dict[str, Quantizer]:
        """Returns the quantizers by suffix of their metric names, in the order of `codes`."""
        raise NotImplementedError

    def _encode_quantized_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to quantized latents, in the form that the decoder takes."""
        raise NotImplementedError

    def _encode_batch(self, inputs: Tensor) -> Tensor:
        """Encodes a batch of inputs to codes, returned as one tensor."""
        raise NotImplementedError

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the quantized latents of a batch of codes."""
        raise NotImplementedError

    # --- shared implementation

    def _build_parts(self, input_shape: Shape) -> None:
        """Creates the metrics of codes and the weight that stores the variance of the targets."""
        del input_shape
        self.code_metrics = []
        self.counted_scales = []
        for scale, (ending, quantizer) in enumerate(self._quantizers().items()):
            sizes = list(quantizer.codebook_sizes)
            if max(sizes) <= MOST_CODES_COUNTED:
                counted = sizes if quantizer.code_shape else sizes[0]
                self.code_metrics += [
                    Perplexity(counted, name=f"perplexity{ending}"),
                    CodebookUsage(counted, name=f"codebook_usage{ending}"),
                ]
                self.counted_scales += [scale, scale]
        # A weight, so that a loaded model keeps the variance of its training; 0 until measured.
        self.measured_data_variance = self.add_weight(
            name="measured_data_variance",
            initializer=keras.initializers.Constant(self.data_variance or 0.0),
            trainable=False,
            dtype="float32",
            autocast=False,
            aggregation="only_first_replica",
        )

    def _reconstruction_scale(self) -> Tensor:
        """Returns the inverse variance of the targets, or 1 while it is unknown."""
        measured = ops.convert_to_tensor(self.measured_data_variance)
        return 1.0 / ops.where(measured > 0, measured, 1.0)

    def _loss_terms(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Computes the quantization loss: the sum of the losses of quantizers and other layers."""
        del outputs
        return {"quantization_loss": self._layer_losses()}

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Any, sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Updates the metrics of codes, and those of `compile(metrics=...)`."""
        codes = keras.tree.flatten(y_pred["codes"])
        for scale, metric in zip(self.counted_scales, self.code_metrics, strict=True):
            metric.update_state(codes[scale])
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Computes the loss of a batch; see `ReconstructionModel.compute_loss`.

        If the variance of the targets is unknown, as in a custom training loop, it is measured on
        this batch.
        """
        if self.loss is None and not self._variance_is_known:
            self._measure_in_step(x if y is None else y)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def _prepare_fit(self, x: Any, y: Any) -> None:
        """Measures the variance of the targets, unless it is known."""
        if self._lacks_variance():
            self._keep_variance(self._target_variance(x, y))

    def _run_evaluate(self, arguments: dict[str, Any]) -> Any:
        """Measures the variance of the targets before evaluation, unless it is known."""
        self._measure_first(arguments["x"], arguments["y"])
        return super()._run_evaluate(arguments)

    def _check_batch(self, x: Any, y: Any) -> None:
        """Checks one batch, on which the variance of the targets is measured if it is unknown."""
        if not self._variance_is_known:
            self._measure_first(x, y)
        super()._check_batch(x, y)

    def _lacks_variance(self) -> bool:
        if self.loss is not None:
            return False
        if self.built:
            # Converted, because a variable of a TensorFlow strategy has no `__float__`.
            self._variance_is_known = bool(ops.convert_to_numpy(self.measured_data_variance) > 0)
        return not self._variance_is_known

    def _keep_variance(self, measured: float) -> None:
        if np.isfinite(measured) and measured > 0:
            self.measured_data_variance.assign(measured)
            self._variance_is_known = True

    def _measure_first(self, x: Any, y: Any) -> None:
        """Measures the variance of targets that can be read again, unless it is known."""
        if not self._lacks_variance():
            return
        if is_read_once(x):
            return  # The first step measures the variance of its batch.
        self._checked(x, y, build=True)  # Rejected data must not set the variance.
        target = first_targets(x, y, batches=_BATCHES_MEASURED)
        if target is not None:
            self._keep_variance(variance(target))

    def _measure_in_step(self, target: Tensor) -> None:
        target = ops.cast(target, "float32")
        values = ops.cast(ops.size(target), "float32")
        total, count = backend.all_reduce_sum([ops.sum(target), values])
        squares = ops.sum(ops.square(target - total / count))
        (squares,) = backend.all_reduce_sum([squares])
        known = ops.convert_to_tensor(self.measured_data_variance)
        self.measured_data_variance.assign(ops.where(known > 0, known, squares / count))

    def _decode_batch(self, codes: Tensor) -> Tensor:
        """Decodes a batch of codes to reconstructions."""
        return self._decode_quantized_batch(self._lookup(codes))

    def _decode_quantized_batch(self, latents: Tensor) -> Tensor:
        """Decodes a batch of quantized latents to reconstructions."""
        return self.decoder(latents, training=False)

    def _reconstruct_batch(self, inputs: Tensor) -> Tensor:
        """Reconstructs a batch of inputs in inference mode."""
        return self._decode_quantized_batch(self._encode_quantized_batch(inputs))

    def encode_latents(self, inputs: Any, batch_size: int = 128) -> np.ndarray:
        """Encodes inputs to latents before quantization.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            batch_size: Integer. Batch size of arrays and of an `ImageDataset`; other datasets
                define their own. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.
        """
        return self._in_batches(self._latents_batch, inputs, batch_size, "inputs")

    def encode_quantized(self, inputs: Any, batch_size: int = 128) -> np.ndarray:
        """Encodes inputs to quantized latents, the input of the decoder.

        Takes the arguments of `encode_latents`, and returns an array of the same form.
        """
        return self._in_batches(self._encode_quantized_batch, inputs, batch_size, "inputs")

    def decode_quantized(self, latents: Any, batch_size: int = 128) -> np.ndarray:
        """Decodes quantized latents to reconstructions.

        Args:
            latents: Array of shape `(n, ...)`, in the form that `encode_quantized` returns.
            batch_size: Integer. Batch size. Defaults to 128.

        Returns:
            Float32 array of shape `(n, ...)`.
        """
        latents = self._checked_latents(latents)
        return self._in_batches(self._decode_quantized_batch, latents, batch_size)

    def _checked_codes(
        self, name: str, codes: Any, quantizer: Quantizer, shape: Shape | None
    ) -> np.ndarray:
        """Checks the shape and the range of the codes of one quantizer; -1 marks masked positions.

        Args:
            name: Name of the argument in error messages.
            codes: Integer array of shape `(n, *shape)`.
            quantizer: The quantizer.
            shape: Shape of the codes of one input, or `None` if it is unknown.

        Returns:
            Int32 array.

        Raises:
            ValueError: If the codes have another shape, or are not integers in the codebook range.
        """
        codes = ops.convert_to_numpy(codes) if ops.is_tensor(codes) else np.asarray(codes)
        if shape is not None:
            if None in self._latents_taken():
                # A decoder of variable input size takes code grids of any size.
                axes = len(quantizer.code_shape)
                open_axes = len(shape) - axes
                shape = (None,) * open_axes + tuple(shape[open_axes:])
            check_shape(codes.shape, shape, name, "of the codes of the model", has_hint=False)
        return _validation.check_codes(name, codes, quantizer.codebook_sizes, least=-1)

    def generate(
        self, n: int, prior: Any = None, batch_size: int = 128, **options: Any
    ) -> np.ndarray:
        """Generates new data by decoding codes sampled from a prior.

        Args:
            n: Integer. Number of results.
            prior: Prior fitted to the codes of this model, such as one of `keras_vq.priors`: an
                object with a method `generate(n, **options)` that returns codes in the form of
                `encode`. This model has no prior of its own, so that it must be given.
            batch_size: Integer. Number of results decoded per batch. Defaults to 128.
            **options: Arguments of `prior.generate`, such as `labels`, `temperature`, `top_k`,
                `top_p`, `guidance` and `seed`.

        Returns:
            Float32 array of shape `(n, ...)`.

        Raises:
            ValueError: If `n` is not a positive integer, `prior` has no method `generate`, or its
                codes do not fit this model.
        """
        _validation.check_positive_integer("n", n)
        if not callable(getattr(prior, "generate", None)):
            raise ValueError(
                "`prior` must have a method `generate(n)` that returns codes. "
                f"Received: {prior!r}. "
                "Fit one first: keras_vq.priors.TransformerPrior.for_model(model)."
            )
        return self.decode(prior.generate(n, **options), batch_size)

    def _exported_latents(self, shape: tuple[int, ...]) -> TensorSpec:
        greatest = max(max(scale.codebook_sizes) for scale in self._quantizers().values()) - 1
        return TensorSpec("codes", "int32", shape, (0, greatest))

    def _target_variance(self, x: Any, y: Any) -> float:
        """Returns the variance of the targets of `fit`; for a dataset, of its first 100 batches.

        Raises:
            ValueError: If the data can be read only once, are constant, or contain NaN or infinity.
        """
        target = first_targets(x, y, batches=_BATCHES_MEASURED)
        if target is None:
            raise ValueError(
                "The default loss requires the variance of the data, which cannot be computed from "
                f"a generator. Pass `data_variance` to {type(self).__name__}, or `loss` to "
                f"`compile`. Received: {type(x).__name__}"
            )
        measured = variance(target)
        if not np.isfinite(measured):
            check_values(target, "x" if y is None else "y")
        if measured == 0:
            raise ValueError(
                "The variance of the data, by which the default loss divides, must be positive. "
                "Check the data, or pass `data_variance`. "
                f"Received: variance {measured}"
            )
        return measured


def check_quantizer(name: str, quantizer: Any) -> Quantizer:
    """Returns `quantizer` if it is a `Quantizer`.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(quantizer, Quantizer):
        raise ValueError(f"`{name}` must be a keras_vq Quantizer. Received: {quantizer!r}")
    return quantizer
