"""What a batch tells a codebook, and draws from it, over all replicas that share the batch."""

from typing import NamedTuple

from keras import ops

from keras_vq import _backend
from keras_vq import ops as vq_ops
from keras_vq._types import Tensor

# Farther than any vector, with a square within float32.
_FAR = 1e15


class Batch(NamedTuple):
    """The vectors of a batch, on which codes may restart."""

    vectors: Tensor  # (n, dim)
    distances: Tensor  # (n,): squared, of each to its code
    weights: Tensor  # (n,): 1, or 0 where masked


class CodeStatistics(NamedTuple):
    """What a batch tells a codebook. It adds up over batches, levels and replicas."""

    counts: Tensor  # (codebook_size,): vectors that chose each code
    sums: Tensor  # (codebook_size, dim): their sum
    batch: Batch | None  # for codebooks whose codes restart

    def merged(self, other: "CodeStatistics") -> "CodeStatistics":
        """The statistics of both batches together."""
        batch = self.batch
        if batch is not None and other.batch is not None:
            pairs = zip(batch, other.batch, strict=True)
            batch = Batch(*(ops.concatenate(pair, axis=0) for pair in pairs))
        return CodeStatistics(self.counts + other.counts, self.sums + other.sums, batch)


def sample_vectors(batch: Batch, weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draws vectors of the global batch with probabilities in proportion to weights.

    With equal uniforms, several replicas draw what one would from their batches joined.

    Args:
        batch: This replica's vectors.
        weights: Float32 tensor of shape `(n,)`, not negative: one a vector. A vector of weight 0
            is never drawn, unless all weights of all replicas are 0.
        uniforms: Float32 tensor of shape `(m,)`, uniform in [0, 1): one a draw.

    Returns:
        Float32 tensor of shape `(m, dim)`, the same on all replicas.
    """
    uniforms = _backend.from_first_replica(ops.convert_to_tensor(uniforms))
    cumulative = ops.cumsum(weights)
    totals = _backend.gather_over_replicas(cumulative[-1])
    index = _backend.replica_index()
    replicas = totals.shape[0]
    before = ops.sum(ops.where(ops.arange(replicas) < index, totals, 0.0))
    targets = uniforms * ops.sum(totals) - before
    is_last = ops.equal(index, replicas - 1)
    is_here = ops.logical_and(targets >= 0, ops.logical_or(targets < cumulative[-1], is_last))

    positions = ops.cast(ops.searchsorted(cumulative, targets, side="right"), "int32")
    # A uniform close to 1 times the rounded total may fall past the end.
    positions = ops.minimum(positions, ops.shape(batch.vectors)[0] - 1)
    drawn = ops.take(batch.vectors, positions, axis=0)
    (drawn,) = _backend.sum_over_replicas([ops.where(is_here[:, None], drawn, 0.0)])
    return drawn


def closest_vectors(batch: Batch, codes: Tensor) -> Tensor:
    """The vector of the global batch that is closest to each code.

    Args:
        batch: This replica's vectors.
        codes: Float32 tensor of shape `(codebook_size, dim)`.

    Returns:
        Float32 tensor of shape `(codebook_size, dim)`, the same on all replicas.
    """
    candidates = ops.where(batch.weights[:, None] > 0, batch.vectors, _FAR)
    closest = ops.take(candidates, vq_ops.nearest_code(codes, candidates), axis=0)
    distances = ops.sum(ops.square(closest - codes), axis=-1)
    distances = _backend.gather_over_replicas(distances)
    is_least = distances <= ops.min(distances, axis=0, keepdims=True)
    owner = ops.argmax(ops.cast(is_least, "int32"), axis=0)
    is_mine = ops.equal(ops.cast(owner, "int32"), _backend.replica_index())
    (closest,) = _backend.sum_over_replicas([ops.where(is_mine[:, None], closest, 0.0)])
    return closest
