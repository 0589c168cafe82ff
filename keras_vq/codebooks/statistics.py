"""What a batch tells a codebook, and draws from it, over all replicas that share the batch."""

from typing import Any, NamedTuple

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

    @classmethod
    def not_empty(cls, vectors: Tensor, distances: Tensor, weights: Tensor) -> "Batch":
        """Returns a batch, with one masked vector more if there might be none."""
        if vectors.shape[0] not in (0, None):
            return cls(vectors, distances, weights)
        padding = [[1, 0]]  # in front: a position past the end falls back to the last vector
        return cls(
            ops.pad(vectors, [*padding, [0, 0]]),
            ops.pad(distances, padding),
            ops.pad(weights, padding),
        )


class CodeStatistics(NamedTuple):
    """What a batch tells a codebook. It adds up over batches, levels and replicas."""

    counts: Tensor  # (codebook_size,): vectors that chose each code
    sums: Tensor  # (codebook_size, dim): their sum
    batches: list[Batch]  # for codebooks whose codes restart: one for each merged part

    def merged(self, other: "CodeStatistics") -> "CodeStatistics":
        """The statistics of both together."""
        sums = self.counts + other.counts, self.sums + other.sums
        return CodeStatistics(*sums, [*self.batches, *other.batches])


def sample_vectors(batches: list[Batch], weights: list[Tensor], uniforms: Tensor) -> Tensor:
    """Draws vectors of the global batch with probabilities in proportion to weights.

    With equal uniforms, several replicas draw what one would from their batches joined.

    Args:
        batches: This replica's vectors.
        weights: For each batch a float32 tensor of shape `(n,)`, not negative: one a vector. A
            vector of weight 0 is never drawn, unless all weights of all replicas are 0.
        uniforms: Float32 tensor of shape `(m,)`, uniform in [0, 1): one a draw.

    Returns:
        Float32 tensor of shape `(m, dim)`, the same on all replicas.
    """
    uniforms = _backend.from_first_replica(ops.convert_to_tensor(uniforms))
    cumulatives = [ops.cumsum(own) for own in weights]
    # One row a replica, one column a batch. All replicas' first batches come before the second
    # ones, as they do where one device has the joined batches.
    totals = _backend.gather_over_replicas(ops.stack([own[-1] for own in cumulatives]))
    replicas, parts = totals.shape
    ends = ops.reshape(ops.cumsum(ops.reshape(ops.transpose(totals), (-1,))), (parts, replicas))
    targets = uniforms * ends[-1, -1]
    index = _backend.replica_index()

    drawn: Any = 0.0
    for part, (batch, cumulative) in enumerate(zip(batches, cumulatives, strict=True)):
        end = ops.take(ends[part], index)
        start = end - cumulative[-1]
        is_last = ops.logical_and(ops.equal(index, replicas - 1), part == parts - 1)
        is_here = ops.logical_and(targets >= start, ops.logical_or(targets < end, is_last))
        positions = ops.searchsorted(cumulative, targets - start, side="right")
        # A uniform close to 1 times the rounded total may fall past the end.
        most = ops.shape(batch.vectors)[0] - 1
        positions = ops.minimum(ops.cast(positions, "int32"), most)
        rows = ops.take(batch.vectors, positions, axis=0)
        drawn = drawn + ops.where(is_here[:, None], rows, 0.0)
    (drawn,) = _backend.sum_over_replicas([drawn])
    return drawn


def closest_vectors(batches: list[Batch], codes: Tensor) -> Tensor:
    """The vector of the global batch that is closest to each code.

    Args:
        batches: This replica's vectors.
        codes: Float32 tensor of shape `(codebook_size, dim)`.

    Returns:
        Float32 tensor of shape `(codebook_size, dim)`, the same on all replicas.
    """
    weights = ops.concatenate([batch.weights for batch in batches], axis=0)[:, None]
    candidates = ops.concatenate([batch.vectors for batch in batches], axis=0)
    # In place of masked vectors stands one that is not, so that the search sees none but those.
    first = ops.argmax(ops.cast(weights > 0, "int32"), axis=0)
    stand_in = ops.where(ops.any(weights > 0), ops.take(candidates, first, axis=0), _FAR)
    candidates = ops.where(weights > 0, candidates, stand_in)
    closest = ops.take(candidates, vq_ops.nearest_code(codes, candidates), axis=0)
    distances = ops.sum(ops.square(closest - codes), axis=-1)
    distances = _backend.gather_over_replicas(distances)
    is_least = distances <= ops.min(distances, axis=0, keepdims=True)
    owner = ops.argmax(ops.cast(is_least, "int32"), axis=0)
    is_mine = ops.equal(ops.cast(owner, "int32"), _backend.replica_index())
    (closest,) = _backend.sum_over_replicas([ops.where(is_mine[:, None], closest, 0.0)])
    return closest
