"""Assignment statistics of a batch, and sampling of its vectors, over all replicas."""

from typing import Any, NamedTuple

from keras import ops

from keras_vq import backend
from keras_vq import ops as vq_ops
from keras_vq._types import Tensor

# Component of a stand-in vector: farther than any vector, with a square in float32's range.
_FAR = 1e15


class AssignedVectors(NamedTuple):
    """Vectors of a batch, as candidates for dead-code restarts."""

    vectors: Tensor  # (n, dim)
    distances: Tensor  # (n,): squared, from each vector to its code vector
    weights: Tensor  # (n,): 1, or 0 where masked

    @classmethod
    def not_empty(cls, vectors: Tensor, distances: Tensor, weights: Tensor) -> "AssignedVectors":
        """Creates a batch, with one masked vector added if it may be empty."""
        if vectors.shape[0] not in (0, None):
            return cls(vectors, distances, weights)
        padding = [[1, 0]]  # in front, since positions past the end are clipped to the last vector
        return cls(
            ops.pad(vectors, [*padding, [0, 0]]),
            ops.pad(distances, padding),
            ops.pad(weights, padding),
        )


class CodeStatistics(NamedTuple):
    """Assignment statistics of a batch, which are additive over batches, stages and replicas."""

    counts: Tensor  # (codebook_size,): number of vectors assigned to each code
    sums: Tensor  # (codebook_size, dim): sums of these vectors
    batches: list[AssignedVectors]  # one for each merged part; empty without a restart rule

    def merged(self, other: "CodeStatistics") -> "CodeStatistics":
        """Returns the sum of two statistics."""
        sums = self.counts + other.counts, self.sums + other.sums
        return CodeStatistics(*sums, [*self.batches, *other.batches])


def sample_vectors(
    batches: list[AssignedVectors], weights: list[Tensor], uniforms: Tensor
) -> Tensor:
    """Samples vectors of the global batch with probabilities proportional to weights.

    With the same uniforms, several replicas draw the same vectors as one device from their joined
    batches.

    Args:
        batches: List of `AssignedVectors`. Vectors of this replica.
        weights: List of float32 tensors of shape `(n,)`, one per batch. Weight of each vector, at
            least 0. A vector of weight 0 is never drawn, unless all weights of all replicas are 0.
        uniforms: Float32 tensor of shape `(m,)`. Uniform random numbers in [0, 1), one per draw.

    Returns:
        Float32 tensor of shape `(m, dim)`, the same on all replicas.
    """
    uniforms = backend.broadcast_first_replica(ops.convert_to_tensor(uniforms))
    cumulatives = [ops.cumsum(own) for own in weights]
    # Rows are replicas, columns are batches. All replicas' first batches precede their second ones,
    # as in the joined batches of one device.
    totals = backend.all_gather(ops.stack([own[-1] for own in cumulatives]))
    replicas, parts = totals.shape
    ends = ops.reshape(ops.cumsum(ops.reshape(ops.transpose(totals), (-1,))), (parts, replicas))
    targets = uniforms * ends[-1, -1]
    index = backend.replica_index()

    drawn: Any = 0.0
    for part, (batch, cumulative) in enumerate(zip(batches, cumulatives, strict=True)):
        end = ops.take(ends[part], index)
        start = end - cumulative[-1]
        is_last = ops.logical_and(ops.equal(index, replicas - 1), part == parts - 1)
        is_here = ops.logical_and(targets >= start, ops.logical_or(targets < end, is_last))
        positions = ops.searchsorted(cumulative, targets - start, side="right")
        # Rounding of the total may put a target past the end.
        most = ops.shape(batch.vectors)[0] - 1
        positions = ops.minimum(ops.cast(positions, "int32"), most)
        rows = ops.take(batch.vectors, positions, axis=0)
        drawn = drawn + ops.where(is_here[:, None], rows, 0.0)
    (drawn,) = backend.all_reduce_sum([drawn])
    return drawn


def closest_vectors(batches: list[AssignedVectors], embeddings: Tensor) -> Tensor:
    """Finds the vector of the global batch that is closest to each code vector.

    Args:
        batches: List of `AssignedVectors`. Vectors of this replica.
        embeddings: Float32 tensor of shape `(codebook_size, dim)`. Code vectors.

    Returns:
        Float32 tensor of shape `(codebook_size, dim)`, the same on all replicas.
    """
    weights = ops.concatenate([batch.weights for batch in batches], axis=0)[:, None]
    candidates = ops.concatenate([batch.vectors for batch in batches], axis=0)
    # Masked vectors are replaced by an unmasked one, so that the search cannot return them.
    first = ops.argmax(ops.cast(weights > 0, "int32"), axis=0)
    stand_in = ops.where(ops.any(weights > 0), ops.take(candidates, first, axis=0), _FAR)
    candidates = ops.where(weights > 0, candidates, stand_in)
    closest = ops.take(candidates, vq_ops.nearest_code(embeddings, candidates), axis=0)
    distances = ops.sum(ops.square(closest - embeddings), axis=-1)
    distances = backend.all_gather(distances)
    is_least = distances <= ops.min(distances, axis=0, keepdims=True)
    owner = ops.argmax(ops.cast(is_least, "int32"), axis=0)
    is_mine = ops.equal(ops.cast(owner, "int32"), backend.replica_index())
    (closest,) = backend.all_reduce_sum([ops.where(is_mine[:, None], closest, 0.0)])
    return closest
