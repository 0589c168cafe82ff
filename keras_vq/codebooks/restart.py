"""What becomes of codes that hardly any vector chooses: they are placed anew, on vectors."""

from typing import Any, Literal, NamedTuple, get_args

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Configurable, Hyperparameter
from keras_vq._types import Tensor
from keras_vq.codebooks.statistics import Batch, closest_vectors, sample_vectors

Sampling = Literal["distance", "uniform"]
Anchor = Literal["closest", "uniform"]


class Move(NamedTuple):
    """Where a rule wants codes: code k goes the share sₖ of the way to its target."""

    shares: Tensor  # (codebook_size,), in [0, 1]
    targets: Tensor  # (codebook_size, dim)
    counts: Tensor  # (codebook_size,): the average count a code moved wholly then has


class RestartRule(Configurable):
    """Abstract rule: which codes move after a training batch, how far and where to.

    A subclass implements `move`, and `get_config` if it has arguments.
    """

    # Whether a code that no vector chose yet counts as unused at once; else as chosen by one
    # vector of each batch, so that its count fades.
    starts_unused = False

    def move(
        self,
        codes: Tensor,
        recent_counts: Tensor,
        mean_count: Tensor,
        batches: list[Batch],
        seed: Any,
    ) -> Move:
        """The move of each code.

        Args:
            codes: Float32 tensor of shape `(codebook_size, dim)`.
            recent_counts: Float32 tensor of shape `(codebook_size,)`: moving average of how
                many vectors of a batch chose each code.
            mean_count: Scalar: the vectors of this batch divided by codebook_size.
            batches: This replica's vectors.
            seed: Keras seed generator.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RestartRule":
        """The rule of a configuration."""
        return cls(**config)


def _check_threshold(name: str, value: Any) -> float:
    if _validation.check_positive(name, value) > 1:
        raise ValueError(f"`{name}` must be a number in (0, 1]. Received: {value!r}")
    return float(value)


@keras.saving.register_keras_serializable("keras_vq")
class DeadCodeRestart(RestartRule):
    """Moves a code that has fallen out of use onto a vector of the current batch.

    A code is dead when the moving average of its count falls below `threshold` times the count
    that it would have if all codes served equally (vectors per batch / codebook size). Being a
    ratio, the threshold means the same for every batch and codebook size.

    Sources: the restart of Jukebox (Dhariwal et al., 2020) and SoundStream (Zeghidour et al.,
    2021), which use an absolute count; the choice by squared distance is that of k-means++
    (Arthur and Vassilvitskii, 2007).

    Args:
        threshold: Number in (0, 1]; 0.1 restarts codes used less than a tenth as often as the
            mean code.
        reset: The count given to a restarted code, as a multiple of the mean count: how long it
            may stay unused before it is restarted again.
        sampling: `"distance"` draws vectors in proportion to their squared distance from their
            nearest code: codes go where the codebook serves worst. `"uniform"` draws every
            vector alike: codes go where most vectors are.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> codebook = keras_vq.EMACodebook(512, restart=keras_vq.DeadCodeRestart(threshold=0.05))
    """

    threshold = Hyperparameter(_check_threshold)
    reset = Hyperparameter(_validation.check_positive)

    def __init__(
        self, threshold: float = 0.1, reset: float = 1.0, sampling: Sampling = "distance"
    ) -> None:
        self.threshold = threshold
        self.reset = reset
        self.sampling = _validation.check_choice("sampling", sampling, get_args(Sampling))

    def move(
        self,
        codes: Tensor,
        recent_counts: Tensor,
        mean_count: Tensor,
        batches: list[Batch],
        seed: Any,
    ) -> Move:
        """Dead codes go wholly to a vector drawn for each."""
        weights = [batch.weights for batch in batches]
        if self.sampling == "distance":
            weights = [batch.weights * batch.distances for batch in batches]
        uniforms = keras.random.uniform((codes.shape[0],), seed=seed)
        return Move(
            shares=ops.cast(recent_counts < self.threshold * mean_count, "float32"),
            targets=sample_vectors(batches, weights, uniforms),
            counts=ops.broadcast_to(self.reset * mean_count, (codes.shape[0],)),
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"threshold": self.threshold, "reset": self.reset, "sampling": self.sampling}


@keras.saving.register_keras_serializable("keras_vq")
class OnlineClustering(RestartRule):
    """Draws every code towards a vector of the batch, the more the less it is used.

    With u the code's moving average count over the mean count, it goes the share
    exp(-10 u / (1 - decay) - 10⁻³) of the way: all of it when never used, nothing to speak of
    once it serves a hundredth as often as the mean code (at a decay of 0.99).

    Source: Zheng and Vedaldi, "Online Clustered Codebook" (CVQ-VAE), 2023, equations 4 to 6.

    Args:
        anchor: `"closest"` takes the vector closest to the code, at the cost of one more search;
            `"uniform"` any vector of the batch.
        decay: The decay of the formula, in [0, 1).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> codebook = keras_vq.Codebook(512, restart=keras_vq.OnlineClustering())
    """

    starts_unused = True
    decay = Hyperparameter(_validation.check_fraction)

    def __init__(self, anchor: Anchor = "closest", decay: float = 0.99) -> None:
        self.anchor = _validation.check_choice("anchor", anchor, get_args(Anchor))
        self.decay = decay

    def move(
        self,
        codes: Tensor,
        recent_counts: Tensor,
        mean_count: Tensor,
        batches: list[Batch],
        seed: Any,
    ) -> Move:
        """Codes go towards their anchors."""
        if self.anchor == "closest":
            targets = closest_vectors(batches, codes)
        else:
            uniforms = keras.random.uniform((codes.shape[0],), seed=seed)
            targets = sample_vectors(batches, [batch.weights for batch in batches], uniforms)
        usage = recent_counts / ops.where(mean_count > 0, mean_count, 1.0)
        shares = ops.exp(-10.0 * usage / (1.0 - self.decay) - 1e-3)
        # A batch that is masked altogether has no vector to go to.
        return Move(ops.where(mean_count > 0, shares, 0.0), targets, recent_counts)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"anchor": self.anchor, "decay": self.decay}
