"""How evenly, and how fully, a codebook is used."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._types import Tensor


class _CodeHistogram(keras.metrics.Metric):
    """Counts how often each code was used since the last reset.

    Args:
        codebook_size: Number of codes; for indices with a last axis of L levels a list of L
            numbers, and the result is the mean over the levels.
        name: Name in the logs.
        **kwargs: Arguments of `keras.metrics.Metric`.
    """

    def __init__(self, codebook_size: int | Sequence[int], name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        sizes = codebook_size if isinstance(codebook_size, (list, tuple)) else [codebook_size]
        self.sizes = [_validation.check_positive_integer("codebook_size", size) for size in sizes]
        self.codebook_size = codebook_size
        # Levels side by side, each as wide as its number of codes.
        self.starts = np.cumsum([0, *self.sizes[:-1]]).astype("int32")
        self.counts = self.add_variable((sum(self.sizes),), "zeros", name="counts")

    def update_state(
        self, indices: Tensor, y_pred: Tensor | None = None, sample_weight: Tensor | None = None
    ) -> None:
        """Counts codes.

        In `compile(metrics=...)` of a model whose output is codes it counts the output: there Keras
        passes targets and outputs.

        Args:
            indices: Integer tensor of any shape, `(..., L)` for L levels; -1 (a masked position)
                is not counted. Ignored if `y_pred` is given.
            y_pred: Codes that a model returned, an integer tensor; None counts `indices`.
            sample_weight: Ignored: how often a code is used is no matter of weights.

        Raises:
            ValueError: If the codes are no integers.
        """
        del sample_weight
        indices = ops.convert_to_tensor(indices if y_pred is None else y_pred)
        dtype = keras.backend.standardize_dtype(indices.dtype)
        if "int" not in dtype:
            raise ValueError(
                f"{type(self).__name__} counts codes, which must be integers. Attach it to the "
                "output of a model that is the codes; a VQVAE logs `perplexity` and "
                f"`codebook_usage` without it. Received: a tensor of dtype {dtype}"
            )
        indices = ops.cast(indices, "int32")
        indices = ops.reshape(indices, (-1, len(self.sizes)))
        weights = ops.reshape(ops.cast(indices >= 0, "float32"), (-1,))
        places = ops.reshape(ops.add(ops.maximum(indices, 0), self.starts), (-1,))
        self.counts.assign(self.counts + vq_ops.code_counts(places, sum(self.sizes), weights))

    def level_counts(self) -> list[Tensor]:
        """The counts of each level, float32 `(codebook_size,)`."""
        counts = ops.convert_to_tensor(self.counts)
        pairs = zip(self.starts, self.sizes, strict=True)
        return [counts[start : start + size] for start, size in pairs]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "codebook_size": self.codebook_size}


@keras.saving.register_keras_serializable("keras_vq")
class Perplexity(_CodeHistogram):
    """Perplexity of the codes seen: the exponential of the entropy of their frequencies.

    Counted over everything since the last reset, an epoch in `fit` and the whole set in
    `evaluate`: not a mean over batches, which is bounded by what one batch can hold.

    Args:
        codebook_size: Number of codes; for indices with a last axis of L levels a list of L
            numbers, and the result is the mean over the levels.
        name: Name in the logs.
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
        """Scalar in [1, codebook_size]."""
        return sum(map(vq_ops.perplexity, self.level_counts())) / len(self.sizes)


@keras.saving.register_keras_serializable("keras_vq")
class CodebookUsage(_CodeHistogram):
    """Share of the codes that were used at least once since the last reset, in [0, 1].

    Args:
        codebook_size: Number of codes; for indices with a last axis of L levels a list of L
            numbers, and the result is the mean over the levels.
        name: Name in the logs.
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
        """Scalar in [0, 1]."""
        used = [ops.mean(ops.cast(counts > 0, "float32")) for counts in self.level_counts()]
        return sum(used) / len(used)
