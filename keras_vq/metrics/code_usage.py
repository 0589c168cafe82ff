"""Metrics of codebook usage: perplexity, and the fraction of codes in use."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._types import Tensor


class _CodeHistogram(keras.metrics.Metric):
    """Base class of metrics of the usage counts of codes.

    Args:
        codebook_size: Integer, or a list of integers for codes with a last axis of several stages.
            The result is the mean over stages.
        name: String. Name of the metric.
        **kwargs: Arguments of `keras.metrics.Metric`.
    """

    def __init__(self, codebook_size: int | Sequence[int], name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        sizes = codebook_size if isinstance(codebook_size, (list, tuple)) else [codebook_size]
        self.sizes = [_validation.check_positive_integer("codebook_size", size) for size in sizes]
        self.codebook_size = codebook_size
        # Counts of all stages are concatenated.
        self.starts = np.cumsum([0, *self.sizes[:-1]]).astype("int32")
        self.counts = self.add_variable((sum(self.sizes),), "zeros", name="counts")

    def update_state(
        self, codes: Tensor, y_pred: Tensor | None = None, sample_weight: Tensor | None = None
    ) -> None:
        """Accumulates usage counts of codes.

        As a metric in `compile`, for a model that outputs codes, it counts `y_pred`, because Keras
        passes targets and outputs.

        Args:
            codes: Integer tensor of codes, of any shape for one stage or `(..., stages)`. Values
                of -1 (masked positions) are not counted. Ignored if `y_pred` is given.
            y_pred: Integer tensor of codes from a model. Defaults to None, which counts `codes`.
            sample_weight: Ignored.

        Raises:
            ValueError: If the codes are not integers.
        """
        del sample_weight
        codes = ops.convert_to_tensor(codes if y_pred is None else y_pred)
        dtype = keras.backend.standardize_dtype(codes.dtype)
        if "int" not in dtype:
            raise ValueError(
                f"The inputs of {type(self).__name__} must be codes, which are integers. Attach "
                "the metric to the output that returns codes. A VQVAE logs `perplexity` and "
                f"`codebook_usage` without it. Received: a tensor of dtype {dtype}"
            )
        codes = ops.cast(codes, "int32")
        codes = ops.reshape(codes, (-1, len(self.sizes)))
        weights = ops.reshape(ops.cast(codes >= 0, "float32"), (-1,))
        places = ops.reshape(ops.add(ops.maximum(codes, 0), self.starts), (-1,))
        self.counts.assign(self.counts + vq_ops.code_counts(places, sum(self.sizes), weights))

    def _stage_counts(self) -> list[Tensor]:
        """Returns the usage counts of each stage, float32 tensors of shape `(codebook_size,)`."""
        counts = ops.convert_to_tensor(self.counts)
        pairs = zip(self.starts, self.sizes, strict=True)
        return [counts[start : start + size] for start, size in pairs]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "codebook_size": self.codebook_size}


@keras.saving.register_keras_serializable("keras_vq")
class Perplexity(_CodeHistogram):
    """Perplexity of code usage: the exponential of the entropy of code frequencies.

    Counts accumulate until the next reset, over an epoch in `fit` and the whole data set in
    `evaluate`. A mean of perplexities of batches would be limited by the batch size.

    Args:
        codebook_size: Integer, or a list of integers for codes with a last axis of several stages.
            The result is the mean over stages.
        name: String. Name of the metric. Defaults to `"perplexity"`.
        **kwargs: Arguments of `keras.metrics.Metric`.

    Example:
        >>> import keras_vq
        >>> metric = keras_vq.metrics.Perplexity(8)
        >>> metric.update_state([0, 1, 0, 1])
        >>> round(float(metric.result()), 4)
        2.0
    """

    def __init__(
        self, codebook_size: int | Sequence[int], name: str = "perplexity", **kwargs: Any
    ) -> None:
        super().__init__(codebook_size, name, **kwargs)

    def result(self) -> Tensor:
        """Computes the perplexity, a scalar in [1, codebook_size]."""
        return sum(map(vq_ops.perplexity, self._stage_counts())) / len(self.sizes)


@keras.saving.register_keras_serializable("keras_vq")
class CodebookUsage(_CodeHistogram):
    """Fraction of codes that were used at least once since the last reset.

    Args:
        codebook_size: Integer, or a list of integers for codes with a last axis of several stages.
            The result is the mean over stages.
        name: String. Name of the metric. Defaults to `"codebook_usage"`.
        **kwargs: Arguments of `keras.metrics.Metric`.

    Example:
        >>> import keras_vq
        >>> metric = keras_vq.metrics.CodebookUsage(8)
        >>> metric.update_state([0, 1, 0, 1])
        >>> float(metric.result())
        0.25
    """

    def __init__(
        self, codebook_size: int | Sequence[int], name: str = "codebook_usage", **kwargs: Any
    ) -> None:
        super().__init__(codebook_size, name, **kwargs)

    def result(self) -> Tensor:
        """Computes the fraction of used codes, a scalar in [0, 1]."""
        used = [ops.mean(ops.cast(counts > 0, "float32")) for counts in self._stage_counts()]
        return sum(used) / len(used)
