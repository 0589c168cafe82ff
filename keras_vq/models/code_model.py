"""What the models share whose latents are codes."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _backend, _validation
from keras_vq._types import Shape, Tensor
from keras_vq.export import TensorSpec
from keras_vq.metrics.code_usage import CodebookUsage, Perplexity
from keras_vq.models._batches import first_targets
from keras_vq.models._images import check_image_shape, variance
from keras_vq.models.base import ReconstructionModel
from keras_vq.quantizers.base import Quantizer

# A histogram of 2²⁰ codes takes 4 MiB.
MOST_CODES_COUNTED = 2**20
_BATCHES_MEASURED = 100


class CodeModel(ReconstructionModel):
    """Abstract model that encodes images to codes of one or several levels.

    The loss is the reconstruction term plus what the quantizers add. By default the
    reconstruction term is the mean squared error divided by the variance of the data. The logs
    have the perplexity and the usage of each level's codes.

    A subclass says which quantizers it has (`levels`), how images become codes
    (`encode_to_codes_batch`) and codes latents (`codes_to_latents`).

    Args:
        encoder: Layer or model that takes the images.
        decoder: Layer or model that makes images.
        data_variance: Variance of the target pixels, by which the default loss divides. None
            measures it on the first data with values that differ, of whichever method computes a
            loss, and keeps it with the weights.
        **kwargs: Arguments of `keras.Model`.
    """

    loss_names = ("reconstruction_loss", "quantization_loss")
    exported_methods = ("encode_to_codes_batch", "decode_codes_batch")

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
        # Decides while a step is traced whether the step must measure the variance.
        self._variance_is_known = data_variance is not None

    # --- what a subclass implements

    def levels(self) -> dict[str, Quantizer]:
        """The quantizers, by the ending of their names in logs, in the order of `codes`."""
        raise NotImplementedError

    def encode_to_codes_batch(self, images: Tensor) -> Tensor:
        """Codes of a batch of images, as one tensor."""
        raise NotImplementedError

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """What `decode_batch` takes, of a batch of codes as one tensor."""
        raise NotImplementedError

    # --- what all do

    def build_parts(self, input_shape: Shape) -> None:
        """Creates what counts codes, and the weight that holds the variance."""
        del input_shape
        self.code_metrics = []
        self.counted_levels = []
        for level, (ending, quantizer) in enumerate(self.levels().items()):
            sizes = list(quantizer.codebook_sizes)
            # Codes too many to count are not: the logs then lack the two.
            if max(sizes) <= MOST_CODES_COUNTED:
                counted = sizes if quantizer.index_shape else sizes[0]
                self.code_metrics += [
                    Perplexity(counted, name=f"perplexity{ending}"),
                    CodebookUsage(counted, name=f"codebook_usage{ending}"),
                ]
                self.counted_levels += [level, level]
        # A weight, so that a saved model goes on with the variance it was trained with; 0 means
        # not measured yet.
        self.measured_variance = self.add_weight(
            name="measured_variance",
            initializer=keras.initializers.Constant(self.data_variance or 0.0),
            trainable=False,
            dtype="float32",
            autocast=False,
            aggregation="only_first_replica",
        )

    def reconstruction_scale(self) -> Tensor:
        """Returns one over the variance of the data; 1 for data of a single value."""
        measured = ops.convert_to_tensor(self.measured_variance)
        return 1.0 / ops.where(measured > 0, measured, 1.0)

    def loss_terms(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the quantizers added, with activity penalties of other layers if there are any."""
        del outputs
        return {"quantization_loss": self.layer_losses()}

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Any, sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Counts the codes, and updates metrics of `compile(metrics=...)`."""
        codes = keras.tree.flatten(y_pred["codes"])
        for level, metric in zip(self.counted_levels, self.code_metrics, strict=True):
            metric.update_state(codes[level])
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

        In a training loop other than Keras's, the first batch gives the variance of the data.
        """
        if self._compile_loss is None and not self._variance_is_known:
            self._measure_in_step(x if y is None else y)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def prepare_fit(self, x: Any, y: Any) -> None:
        """Measures the variance of the target, unless it is known."""
        if self._lacks_variance():
            self._keep_variance(self._target_variance(x, y))

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Computes loss and metrics on images; see `ReconstructionModel.evaluate`."""
        self._measure_first(x, y)
        return super().evaluate(x, y, **kwargs)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Runs one training step on a batch; takes what `keras.Model.train_on_batch` takes."""
        if not self._variance_is_known:
            self._measure_first(x, y)
        return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Computes loss and metrics of a batch; takes what `keras.Model.test_on_batch` takes."""
        if not self._variance_is_known:
            self._measure_first(x, y)
        return super().test_on_batch(x, y, sample_weight, return_dict)

    def _lacks_variance(self) -> bool:
        if self._compile_loss is not None:
            return False
        self._variance_is_known = self.built and float(self.measured_variance) > 0
        return not self._variance_is_known

    def _keep_variance(self, measured: float) -> None:
        if np.isfinite(measured) and measured > 0:
            self.measured_variance.assign(measured)
            self._variance_is_known = True

    def _measure_first(self, x: Any, y: Any) -> None:
        """Measures the variance of data that can be read again, unless it is known."""
        if not self._lacks_variance():
            return
        target = first_targets(x, y, batches=_BATCHES_MEASURED)
        if target is None:
            return  # The first step measures its batch.
        self._checked(x, y, build=True)  # Data that are refused leave the variance unknown.
        self._keep_variance(variance(target))

    def _measure_in_step(self, target: Tensor) -> None:
        target = ops.cast(target, "float32")
        values = ops.cast(ops.size(target), "float32")
        total, count = _backend.sum_over_replicas([ops.sum(target), values])
        squares = ops.sum(ops.square(target - total / count))
        (squares,) = _backend.sum_over_replicas([squares])
        known = ops.convert_to_tensor(self.measured_variance)
        self.measured_variance.assign(ops.where(known > 0, known, squares / count))

    def decode_codes_batch(self, codes: Tensor) -> Tensor:
        """Images of a batch of codes."""
        return self.decode_batch(self.codes_to_latents(codes))

    def _checked_codes(
        self, name: str, codes: Any, quantizer: Quantizer, shape: Shape | None
    ) -> np.ndarray:
        """Checks the shape and range of codes of one quantizer, -1 included.

        Args:
            name: Name of the argument in messages.
            codes: Integer array of shape `(n, *shape)`.
            quantizer: The quantizer.
            shape: Shape of the codes of one image; None where it is unknown.

        Returns:
            Int32 array.

        Raises:
            ValueError: If the codes have another shape, or are not integers in range.
        """
        codes = ops.convert_to_numpy(codes) if ops.is_tensor(codes) else np.asarray(codes)
        if shape is not None:
            if None in self._latents_taken():
                # A decoder that takes any size takes any grid.
                axes = len(quantizer.index_shape)
                open_axes = len(shape) - axes
                shape = (None,) * open_axes + tuple(shape[open_axes:])
            check_image_shape(codes.shape, shape, name, "the model's codes have", is_image=False)
        return _validation.check_codes(name, codes, quantizer.codebook_sizes, least=-1)

    def generate(self, prior: Any, n: int, batch_size: int = 128, **options: Any) -> np.ndarray:
        """New images: decodes codes that a prior draws.

        Args:
            prior: What has learnt how the codes of this model are distributed, with a method
                `generate(n, **options)` that returns codes as `encode_to_codes` does; see
                `keras_vq.priors`.
            n: Number of images.
            batch_size: Images decoded at a time.
            **options: What `prior.generate` takes: `labels`, `temperature`, `top_k`, `top_p`,
                `guidance`, `seed` and so on.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.

        Raises:
            ValueError: If `n` is no whole number of at least 1, the prior is none, or its codes
                are not of this model.
        """
        _validation.check_positive_integer("n", n)
        if not callable(getattr(prior, "generate", None)):
            raise ValueError(
                "`prior` must have a method `generate(n)` that gives codes, as the priors of "
                f"`keras_vq.priors` have. Received: {prior!r}"
            )
        return self.decode_codes(prior.generate(n, **options), batch_size)

    def _exported_latents(self, shape: tuple[int, ...]) -> TensorSpec:
        greatest = max(max(level.codebook_sizes) for level in self.levels().values()) - 1
        return TensorSpec("codes", "int32", shape, (0, greatest))

    def _target_variance(self, x: Any, y: Any) -> float:
        """Variance of the targets of `fit(x, y)`; of the first 100 batches of a data set."""
        target = first_targets(x, y, batches=_BATCHES_MEASURED)
        if target is None:
            raise ValueError(
                "The default loss divides by the variance of the data, which can't be measured on "
                f"data that can be read only once: give `data_variance` to {type(self).__name__}, "
                f"or a loss to `compile`. Received: {type(x).__name__}"
            )
        measured = variance(target)
        if not measured > 0:
            raise ValueError(
                "The target images are all one colour, so that their variance, by which the "
                "default loss divides, is 0: check the data, or give `data_variance`. "
                f"Received: variance {measured}"
            )
        return measured

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "data_variance": self.data_variance}


def check_quantizer(name: str, quantizer: Any) -> Quantizer:
    """The quantizer if it is one.

    Raises:
        ValueError: If it isn't.
    """
    if not isinstance(quantizer, Quantizer):
        raise ValueError(f"`{name}` must be a keras_vq Quantizer. Received: {quantizer!r}")
    return quantizer
