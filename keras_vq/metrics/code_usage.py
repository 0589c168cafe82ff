"""How evenly, and how fully, a codebook is used."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._types import Tensor


class _CodeHistogram(keras.metrics.Metric):
    """Counts how often each code was used since the last reset.

    Args:
        codebook_size: Number of codes.
        name: Name in the logs.
        **kwargs: Arguments of `keras.metrics.Metric`.
    """

    def __init__(self, codebook_size: int, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.codebook_size = _validation.check_positive_integer("codebook_size", codebook_size)
        self.counts = self.add_variable((self.codebook_size,), "zeros", name="counts")

    def update_state(self, indices: Tensor, sample_weight: Tensor | None = None) -> None:
        """Counts codes.

        Args:
            indices: Int32 tensor of any shape; -1 (a masked position) is not counted.
            sample_weight: Ignored: how often a code is used is no matter of weights.
        """
        del sample_weight
        indices = ops.reshape(ops.convert_to_tensor(indices, dtype="int32"), (-1,))
        weights = ops.cast(indices >= 0, "float32")
        counts = vq_ops.code_counts(ops.maximum(indices, 0), self.codebook_size, weights)
        self.counts.assign(self.counts + counts)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "codebook_size": self.codebook_size}


@keras.saving.register_keras_serializable("keras_vq")
class Perplexity(_CodeHistogram):
    """Perplexity of the codes seen: the exponential of the entropy of their frequencies.

    Counted over everything since the last reset, an epoch in `fit` and the whole set in
    `evaluate`: not a mean over batches, which is bounded by what one batch can hold.

    Args:
        codebook_size: Number of codes.
        name: Name in the logs.
        **kwargs: Arguments of `keras.metrics.Metric`.

    Example:
        >>> import keras_vq
        >>> metric = keras_vq.metrics.Perplexity(8)
        >>> metric.update_state([0, 1, 0, 1])
        >>> round(float(metric.result()), 4)
        2.0
    """

    def __init__(self, codebook_size: int, name: str = "perplexity", **kwargs: Any) -> None:
        super().__init__(codebook_size, name, **kwargs)

    def result(self) -> Tensor:
        """Scalar in [1, codebook_size]."""
        return vq_ops.perplexity(ops.convert_to_tensor(self.counts))


@keras.saving.register_keras_serializable("keras_vq")
class CodebookUsage(_CodeHistogram):
    """Share of the codes that were used at least once since the last reset, in [0, 1].

    Args:
        codebook_size: Number of codes.
        name: Name in the logs.
        **kwargs: Arguments of `keras.metrics.Metric`.

    Example:
        >>> import keras_vq
        >>> metric = keras_vq.metrics.CodebookUsage(8)
        >>> metric.update_state([0, 1, 0, 1])
        >>> float(metric.result())
        0.25
    """

    def __init__(self, codebook_size: int, name: str = "codebook_usage", **kwargs: Any) -> None:
        super().__init__(codebook_size, name, **kwargs)

    def result(self) -> Tensor:
        """Scalar in [0, 1]."""
        return ops.mean(ops.cast(ops.convert_to_tensor(self.counts) > 0, "float32"))
