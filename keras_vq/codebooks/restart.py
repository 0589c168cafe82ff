"""Dead-code restart: rules that re-initialize rarely used code vectors from batch vectors."""

from typing import Any, Literal, NamedTuple, get_args

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import Configurable
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._registry import Registry
from keras_vq._types import Tensor
from keras_vq.codebooks.batch_stats import AssignedVectors, closest_vectors, sample_vectors

Sampling = Literal["distance", "uniform"]
Anchor = Literal["closest", "uniform"]


class CodebookUpdate(NamedTuple):
    """Update proposed by a restart rule: an interpolation of each code vector to a target."""

    shares: Tensor  # (codebook_size,), in [0, 1]: interpolation weights
    targets: Tensor  # (codebook_size, dim)
    counts: Tensor  # (codebook_size,): targets of the average counts


class RestartRule(Configurable):
    """Base class of restart rules, which update rarely used code vectors after a training batch.

    A subclass implements `_propose`. Its constructor arguments are recorded for `get_config`.

    Example:
        >>> import keras_vq
        >>> rule = keras_vq.OnlineClustering(decay=0.9)  # a subclass
        >>> keras_vq.EMACodebook(512, restart=rule).restart.get_config()
        {'anchor': 'closest', 'decay': 0.9}
    """

    # Whether average counts are initialized to 0, so that codes count as unused before their first
    # use. Otherwise they are initialized to 1 and decay.
    _starts_unused = False

    def _propose(
        self,
        embeddings: Tensor,
        recent_counts: Tensor,
        mean_count: Tensor,
        batches: list[AssignedVectors],
        seed: Any,
    ) -> CodebookUpdate:
        """Computes the update of each code vector.

        Args:
            embeddings: Float32 tensor of shape `(codebook_size, dim)`. Code vectors.
            recent_counts: Float32 tensor of shape `(codebook_size,)`. EMA of the number of vectors
                assigned to each code per batch.
            mean_count: Scalar. Number of vectors of the global batch divided by codebook_size.
            batches: List of `AssignedVectors`. Vectors of this replica.
            seed: `keras.random.SeedGenerator`.
        """
        raise NotImplementedError


def _check_threshold(name: str, value: Any) -> float:
    if _validation.check_positive(name, value) > 1:
        raise ValueError(f"`{name}` must be a number in (0, 1]. Received: {value!r}")
    return float(value)


@keras.saving.register_keras_serializable("keras_vq")
class DeadCodeRestart(RestartRule):
    """Dead-code restart: replaces dead code vectors by vectors of the current batch.

    A code is dead if the EMA of its count is below `threshold` times the mean count (vectors per
    batch / codebook size). Being a ratio, the threshold does not depend on the batch size or the
    codebook size.

    Sources: the restarts of Jukebox (Dhariwal et al., 2020) and SoundStream (Zeghidour et al.,
    2021), which use an absolute count; sampling by squared distance is that of k-means++ (Arthur
    and Vassilvitskii, 2007).

    Args:
        threshold: Float in (0, 1]. At 0.1, codes used less than a tenth as often as the mean code
            are restarted. Defaults to 0.1.
        restart_count: Float above 0. Average count of a restarted code, as a multiple of the mean
            count. It determines how long the code may stay unused before it is restarted again.
            Defaults to 1.0.
        sampling: `"distance"` samples vectors with probabilities proportional to their squared
            distance from the nearest code vector, which favors regions with a large quantization
            error. `"uniform"` samples all vectors with equal probability, which favors dense
            regions. Defaults to `"distance"`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> codebook = keras_vq.EMACodebook(512, restart=keras_vq.DeadCodeRestart(threshold=0.05))
    """

    threshold = Hyperparameter(_check_threshold)
    restart_count = Hyperparameter(_validation.check_positive)

    def __init__(
        self, threshold: float = 0.1, restart_count: float = 1.0, sampling: Sampling = "distance"
    ) -> None:
        self.threshold = threshold
        self.restart_count = restart_count
        self.sampling = _validation.check_choice("sampling", sampling, get_args(Sampling))

    def _propose(
        self,
        embeddings: Tensor,
        recent_counts: Tensor,
        mean_count: Tensor,
        batches: list[AssignedVectors],
        seed: Any,
    ) -> CodebookUpdate:
        """Replaces each dead code vector by a randomly drawn vector."""
        weights = [batch.weights for batch in batches]
        if self.sampling == "distance":
            weights = [batch.weights * batch.distances for batch in batches]
        uniforms = keras.random.uniform((embeddings.shape[0],), seed=seed)
        return CodebookUpdate(
            shares=ops.cast(recent_counts < self.threshold * mean_count, "float32"),
            targets=sample_vectors(batches, weights, uniforms),
            counts=ops.broadcast_to(self.restart_count * mean_count, (embeddings.shape[0],)),
        )


@keras.saving.register_keras_serializable("keras_vq")
class OnlineClustering(RestartRule):
    """Online clustered codebook (CVQ-VAE): moves rarely used code vectors towards batch vectors.

    With u the EMA of a code's count divided by the mean count, its code vector is interpolated
    towards an anchor vector of the batch with weight exp(-10 u / (1 - decay) - 10⁻³). The weight is
    close to 1 for unused codes, and below 10⁻⁴ for codes used at least a hundredth as often as the
    mean code (at a decay of 0.99).

    Source: Zheng and Vedaldi, "Online Clustered Codebook" (CVQ-VAE), 2023, equations 4 to 6.

    Args:
        anchor: `"closest"` uses the batch vector closest to the code vector, which costs one more
            nearest-neighbor search; `"uniform"` uses a random vector of the batch. Defaults to
            `"closest"`.
        decay: Float in [0, 1). Decay in the formula above. Defaults to 0.99.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> codebook = keras_vq.GradientCodebook(512, restart=keras_vq.OnlineClustering())
    """

    _starts_unused = True
    decay = Hyperparameter(_validation.check_fraction)

    def __init__(self, anchor: Anchor = "closest", decay: float = 0.99) -> None:
        self.anchor = _validation.check_choice("anchor", anchor, get_args(Anchor))
        self.decay = decay

    def _propose(
        self,
        embeddings: Tensor,
        recent_counts: Tensor,
        mean_count: Tensor,
        batches: list[AssignedVectors],
        seed: Any,
    ) -> CodebookUpdate:
        """Interpolates each code vector towards its anchor."""
        if self.anchor == "closest":
            targets = closest_vectors(batches, embeddings)
        else:
            uniforms = keras.random.uniform((embeddings.shape[0],), seed=seed)
            targets = sample_vectors(batches, [batch.weights for batch in batches], uniforms)
        usage = recent_counts / ops.where(mean_count > 0, mean_count, 1.0)
        shares = ops.exp(-10.0 * usage / (1.0 - self.decay) - 1e-3)
        # A fully masked batch has no anchors.
        return CodebookUpdate(ops.where(mean_count > 0, shares, 0.0), targets, recent_counts)


_REGISTRY = Registry("restart", (DeadCodeRestart, OnlineClustering), RestartRule)
get, serialize, deserialize = _REGISTRY.get, _REGISTRY.serialize, _REGISTRY.deserialize
