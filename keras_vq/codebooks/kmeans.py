"""K-means clustering with a compiled, blockwise search on the running backend."""

import functools
import math
import random
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from keras_vq import backend
from keras_vq import ops as vq_ops
from keras_vq._inputs import as_array, inputs_of, is_data_set
from keras_vq._types import Tensor

# Values of `start` in `adapt`.
Start = Literal["kmeans", "kmeans++", "kmeans_random", "first"]

# k-means uses at most this number of vectors per cluster, as faiss does.
VECTORS_PER_CLUSTER = 256

# k-means++ initialization takes time in proportion to the square of the number of clusters. By
# default it is used up to this number, on a sample of this number of vectors per cluster.
_MOST_PLUS_PLUS, _PLUS_PLUS_SAMPLE = 1024, 16

# Multiplications per block of vectors (0.1 to 0.3 seconds on one core), limits of the number of
# vectors per block, and number of blocks above which a progress bar is shown.
_PRODUCTS_PER_BLOCK, _LEAST_ROWS, _MOST_ROWS, _BLOCKS_WITHOUT_BAR = 2**31, 1024, 2**16, 20

# Relative distance between the two halves of a split cluster.
_SPLIT = 1 / 1024


def read_vectors(data: Any, codebook_size: int, start: Start, flatten: bool = True) -> np.ndarray:
    """Reads the data of `adapt`: all of them, or a random sample of 256 vectors per code.

    Args:
        data: Array or data set of inputs of shape `(..., dim)` with finite values.
        codebook_size: Integer. Number of codes.
        start: String. `"first"` does not sample, and reads a data set up to the first
            `codebook_size` inputs.
        flatten: Boolean. Whether to return vectors, of shape `(n, dim)`, and not the inputs.
            Defaults to `True`.

    Returns:
        Float32 array. The sample is the same for an array and for a data set of its batches.

    Raises:
        ValueError: If batches have other shapes, NaN or infinity.
    """
    if start == "first":
        return _as_vectors(as_array("vectors", data, rows=codebook_size), flatten)
    if is_data_set(data):
        batches = (_as_vectors(batch, flatten) for batch in inputs_of(data, name="vectors"))
    else:
        array = _as_vectors(as_array("vectors", data), flatten)
        if 0 < len(array) <= _most_rows(array.shape, codebook_size):
            return array
        batches = (array[row : row + _MOST_ROWS] for row in range(0, len(array), _MOST_ROWS))
    sample: Any = None
    most, seen, rng = 0, 0, np.random.default_rng(0)
    for rows in batches:
        if sample is None:
            most = _most_rows(rows.shape, codebook_size)
            # The operating system allocates only the rows that are filled.
            sample = np.empty((most, *rows.shape[1:]), "float32")
        if rows.shape[1:] != sample.shape[1:]:
            raise ValueError(
                "`adapt` requires batches of one shape. Received: a batch whose entries have the "
                f"shape {rows.shape[1:]} after entries of shape {sample.shape[1:]}"
            )
        # Reservoir sampling: row t replaces a random one of the sample with probability most / t.
        order = seen + np.arange(len(rows))
        places = np.where(order < most, order, rng.integers(0, order + 1))
        chosen = places < most
        sample[places[chosen]] = rows[chosen]
        seen += len(rows)
    if sample is None:
        raise ValueError("`adapt` requires vectors. Received: no data")
    return sample[:seen]


def kmeans_centers(
    vectors: np.ndarray,
    clusters: int,
    seed: int | None = None,
    iterations: int = 10,
    start: Start = "kmeans",
) -> np.ndarray:
    """Computes cluster centers by k-means.

    The search for the nearest centers runs in blocks on the backend, so that memory does not grow
    with vectors x clusters. A cluster without vectors replaces half of a large cluster: both
    centers become copies of the large one that differ by 0.1 %. In PyTorch processes, each with its
    own vectors, the centers are those of all vectors; they start from the vectors of the first
    process.

    Args:
        vectors: Float32 array of shape `(n, dim)`.
        clusters: Integer. Number of clusters.
        seed: Integer or `None`. Seed of samples and splits. Defaults to `None`.
        iterations: Integer. Maximum number of iterations. Defaults to 10.
        start: String. `"kmeans++"` spreads the initial centers (Arthur and Vassilvitskii, 2007;
            on 16 vectors per cluster). `"kmeans_random"` samples
            vectors. `"kmeans"` is the former for at most 1,024 clusters and else the latter, since
            the time of k-means++ grows with the square of the number of clusters. Defaults to
            `"kmeans"`.

    Returns:
        Float32 array of shape `(clusters, dim)`.
    """
    # Without a seed, the centers are those of `keras.utils.set_random_seed`.
    rng = np.random.default_rng(random.randrange(2**31) if seed is None else seed)
    # Distances of centered vectors have smaller rounding errors.
    center = vectors.mean(axis=0, dtype="float64").astype("float32")
    center = _of_first_process(center)
    vectors = vectors - center
    centers = _of_first_process(_initial_centers(vectors, clusters, rng, start))
    return lloyd(vectors, centers, iterations, rng) + center


def lloyd(
    vectors: np.ndarray, centers: np.ndarray, iterations: int, rng: np.random.Generator
) -> np.ndarray:
    """Computes cluster centers from initial ones (Lloyd's algorithm; Lloyd, 1982).

    Args:
        vectors: Float32 array of shape `(n, dim)`.
        centers: Float32 array of shape `(clusters, dim)`. Initial centers.
        iterations: Integer. Maximum number of iterations. They stop when the centers are constant.
        rng: Random generator of splits.

    Returns:
        Float32 array of shape `(clusters, dim)`.
    """
    blocks = _Blocks(vectors, len(centers))
    bar = blocks.progress_bar(iterations)
    for _ in range(iterations):
        sums, counts = blocks.statistics(centers, bar)
        means = (sums / np.maximum(counts, 1)[:, None]).astype("float32")
        _split_large_clusters(means, counts, rng)
        means = _of_first_process(means)  # splits may differ without a seed
        if np.array_equal(means, centers):
            break
        centers = means
    if bar is not None:
        bar.update(bar.target, finalize=True)
    return centers


def _most_rows(shape: tuple[int, ...], codebook_size: int) -> int:
    """Returns the number of rows of a sample, from the shape `(n, ..., dim)` of the inputs."""
    return math.ceil(VECTORS_PER_CLUSTER * codebook_size / max(1, math.prod(shape[1:-1])))


def _as_vectors(inputs: Any, flatten: bool) -> np.ndarray:
    inputs = np.asarray(ops.convert_to_numpy(inputs), dtype="float32")
    if inputs.ndim < 2 or not np.isfinite(inputs).all():
        raise ValueError(
            "`adapt` requires finite vectors of shape (..., dim). "
            f"Received: shape {inputs.shape}, all finite: {bool(np.isfinite(inputs).all())}"
        )
    return inputs.reshape(-1, inputs.shape[-1]) if flatten else inputs


class _Blocks:
    """Vectors in blocks of equal size, the last one padded with vectors of weight 0."""

    def __init__(self, vectors: np.ndarray, clusters: int) -> None:
        count, self.dim = vectors.shape
        rows = _PRODUCTS_PER_BLOCK // (clusters * self.dim)
        self.rows = min(max(rows, _LEAST_ROWS), _MOST_ROWS)
        if count <= self.rows:
            self.rows = 1 << (count - 1).bit_length()  # few sizes, so that few steps are compiled
        self.vectors, self.clusters = vectors, clusters
        self.starts = range(0, count, self.rows)
        self.step = _compiled_step(self.rows, clusters, self.dim)

    def progress_bar(self, iterations: int) -> keras.utils.Progbar | None:
        """Returns a progress bar for many blocks, and `None` for few."""
        total = len(self.starts) * iterations
        return (
            keras.utils.Progbar(total, unit_name="block") if total > _BLOCKS_WITHOUT_BAR else None
        )

    def statistics(
        self, centers: np.ndarray, bar: keras.utils.Progbar | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes the sum and the number of the vectors nearest to each center, in float64."""
        sums = np.zeros((self.clusters, self.dim))
        counts = np.zeros(self.clusters)
        for start in self.starts:
            block = self.vectors[start : start + self.rows]
            weights = np.ones(len(block), "float32")
            missing = self.rows - len(block)
            inputs = (np.pad(block, ((0, missing), (0, 0))), np.pad(weights, (0, missing)), centers)
            block_sums, block_counts = backend.predict_on_batch(self.step, inputs)
            sums += block_sums
            counts += block_counts
            if bar is not None:
                bar.add(1)
        sums, counts = _of_all_processes(sums, counts)
        return sums, counts


class _ClusterStatistics(keras.Model):
    """Sum and number of the vectors of a block that are nearest to each center."""

    def call(self, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Computes the statistics of weighted vectors."""
        vectors, weights, centers = inputs
        codes = vq_ops.nearest_code(vectors, centers)
        clusters = centers.shape[0]
        return (
            vq_ops.code_sums(vectors, codes, clusters, weights),
            vq_ops.code_counts(codes, clusters, weights),
        )


@functools.lru_cache(maxsize=8)
def _compiled_step(rows: int, clusters: int, dim: int) -> keras.Model:
    """Returns the step for one combination of sizes, which is compiled once."""
    step = _ClusterStatistics(name=f"kmeans_{rows}_{clusters}_{dim}")
    step.built = True
    return step


def _sample(vectors: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Returns at most this number of vectors, in their order."""
    if len(vectors) <= most:
        return vectors
    return vectors[np.sort(rng.choice(len(vectors), most, replace=False))]


def _initial_centers(
    vectors: np.ndarray, clusters: int, rng: np.random.Generator, start: Start
) -> np.ndarray:
    if start == "kmeans_random" or (start == "kmeans" and clusters > _MOST_PLUS_PLUS):
        return _sample(vectors, clusters, rng)
    return plus_plus_centers(_sample(vectors, _PLUS_PLUS_SAMPLE * clusters, rng), clusters, rng)


def plus_plus_centers(vectors: np.ndarray, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Chooses vectors far from each other as initial centers (greedy k-means++).

    Each center is drawn with a probability in proportion to the squared distance from the centers
    before it; of 2 + log(clusters) such vectors, the one that lowers the sum of these distances
    most is kept. Source: Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding",
    2007.

    Args:
        vectors: Float32 array of shape `(n, dim)`, centered.
        clusters: Integer, at most n. Number of centers.
        rng: Random generator.

    Returns:
        Float32 array of shape `(clusters, dim)`.
    """
    squares = np.square(vectors).sum(axis=1)

    def distances_from(chosen: np.ndarray) -> np.ndarray:
        products = vectors[chosen] @ vectors.T
        return np.maximum(squares[chosen, None] - 2.0 * products + squares, 0.0)

    places = [rng.integers(len(vectors))]
    nearest = distances_from(np.array(places))[0]
    for _ in range(clusters - 1):
        cumulative = np.cumsum(nearest, dtype="float64")
        drawn = rng.random(2 + int(math.log(clusters))) * cumulative[-1]
        candidates = np.minimum(np.searchsorted(cumulative, drawn), len(vectors) - 1)
        closer = np.minimum(distances_from(candidates), nearest)
        best = int(closer.sum(axis=1).argmin())
        places.append(candidates[best])
        nearest = closer[best]
    return vectors[places]


def _split_large_clusters(
    centers: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> None:
    """Replaces centers without vectors, in place, by halves of clusters of many vectors."""
    empty = np.flatnonzero(counts == 0)
    spare = np.maximum(counts - 1, 0)
    total = spare.sum()
    if not len(empty) or not total:
        return
    for place in empty:
        split = rng.choice(len(counts), p=spare / spare.sum())
        signs = np.where(np.arange(centers.shape[1]) % 2 == 0, _SPLIT, -_SPLIT)
        centers[place] = centers[split] * (1 + signs)
        centers[split] = centers[split] * (1 - signs)
        spare[place] = spare[split] = spare[split] / 2


def _of_first_process(array: np.ndarray) -> np.ndarray:
    value = backend.broadcast_first_replica(ops.convert_to_tensor(array))
    return ops.convert_to_numpy(value)


def _of_all_processes(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    if backend.num_replicas() == 1:
        return arrays
    tensors = [ops.convert_to_tensor(array, "float32") for array in arrays]
    return tuple(ops.convert_to_numpy(total) for total in backend.all_reduce_sum(tensors))
