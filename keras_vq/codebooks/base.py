"""What every codebook is: where codes live, and how they are found, learnt and restarted."""

import warnings
from typing import Any, Literal, NamedTuple, get_args

import keras
import numpy as np
from keras import ops

from keras_vq import _backend, _validation
from keras_vq import ops as vq_ops
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.restart import DeadCodeRestart

Start = Literal["kmeans", "first"]


class CodeStatistics(NamedTuple):
    """What a batch tells a codebook. Counts and sums add up over batches, levels and replicas."""

    counts: Tensor  # (codebook_size,): vectors that chose each code
    sums: Tensor  # (codebook_size, dim): their sum
    candidates: Tensor | None  # (codebook_size, dim): vectors to restart on, if codes restart


class BaseCodebook(keras.layers.Layer):
    """Abstract codebook: `codebook_size` codes of the dimension of the vectors it is built for.

    A codebook is part of a quantizer, which asks it for the nearest codes and hands it each
    training batch's statistics. A subclass says where the codes are (`codes`), how they learn
    (`loss` by gradient, or `update_codes` by statistics) and how one is placed anew
    (`place_codes`).

    State that changes in training: `average_counts`, the moving average of how many vectors of a
    batch choose each code.

    Args:
        codebook_size: Number of codes, K.
        decay: Decay of the moving averages, in [0, 1).
        restart: A `DeadCodeRestart`, or None to leave unused codes where they are.
        initializer: Keras initializer of the (K, dim) codes.
        seed: Seed of the restarts.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        codebook_size: int,
        decay: float = 0.99,
        restart: DeadCodeRestart | None = None,
        initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.codebook_size = _validation.check_positive_integer("codebook_size", codebook_size)
        self.decay = _validation.check_fraction("decay", decay)
        if not (restart is None or isinstance(restart, DeadCodeRestart)):
            raise ValueError(f"`restart` must be a DeadCodeRestart or None. Received: {restart!r}")
        self.restart = restart
        # Variance 1/dim, so that codes have a norm near 1 whatever the dimension.
        self.initializer = keras.initializers.get(
            initializer
            or keras.initializers.VarianceScaling(mode="fan_out", distribution="uniform")
        )
        self.seed = seed
        if restart is not None:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Shape) -> None:
        """Creates the state for vectors of shape `(..., dim)`."""
        dim = input_shape[-1]
        if dim is None:
            raise ValueError(
                "A codebook needs vectors whose dimension, the last axis, is known. "
                f"Received: shape {tuple(input_shape)}"
            )
        self.dim = int(dim)
        self.average_counts = self.add_state("average_counts", (self.codebook_size,), "ones")

    def add_state(
        self, name: str, shape: tuple[int, ...], initializer: Any, trainable: bool = False
    ) -> Any:
        """A float32 weight that mixed precision leaves alone."""
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=trainable,
            dtype="float32",
            autocast=False,
        )

    def codes(self) -> Tensor:
        """All codes, a float32 tensor of shape `(codebook_size, dim)`."""
        raise NotImplementedError

    def call(self, vectors: Tensor) -> Tensor:
        """Index of the nearest code of each vector: int32, of shape `vectors.shape[:-1]`."""
        flat = ops.reshape(ops.cast(vectors, "float32"), (-1, self.dim))
        indices = vq_ops.nearest_code(flat, self.codes())
        return ops.reshape(indices, ops.shape(vectors)[:-1])

    def compute_output_spec(self, vectors: Tensor) -> keras.KerasTensor:
        """Shape and dtype of the indices."""
        return keras.KerasTensor(vectors.shape[:-1], dtype="int32")

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of the indices: float32, shape `indices.shape + (dim,)`."""
        return ops.take(self.codes(), indices, axis=0)

    def loss(self, vectors: Tensor, codes: Tensor, mask: Tensor | None) -> Tensor:
        """The loss by whose gradient the codes learn; 0 where they learn otherwise."""
        del vectors, codes, mask
        return ops.zeros(())

    def statistics(
        self, vectors: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> CodeStatistics:
        """What a batch of this replica tells: counts, sums and vectors to restart codes on.

        Args:
            vectors: Float32 tensor of shape `(..., dim)`.
            codes: Float32 tensor of the same shape: the code of each vector.
            indices: Int32 tensor of shape `(...)`.
            mask: Boolean tensor of shape `(...)`: false leaves a vector out. None keeps all.
        """
        flat = ops.reshape(vectors, (-1, self.dim))
        indices = ops.reshape(indices, (-1,))
        weights = None
        if mask is not None:
            mask = ops.reshape(mask, (-1,))
            weights = ops.cast(mask, "float32")
            flat = ops.where(mask[:, None], flat, 0.0)
        counts = vq_ops.code_counts(indices, self.codebook_size, weights)
        sums = vq_ops.code_sums(flat, indices, self.codebook_size)
        candidates = None
        if self.restart is not None:
            if weights is None:
                weights = ops.ones_like(flat[:, 0])
            if self.restart.sampling == "distance":
                distances = ops.square(flat - ops.reshape(codes, (-1, self.dim)))
                weights = weights * ops.sum(distances, axis=-1)
            uniforms = keras.random.uniform((self.codebook_size,), seed=self.seed_generator)
            candidates = vq_ops.sample_rows(flat, weights, uniforms)
        return CodeStatistics(counts, sums, candidates)

    def update(self, statistics: CodeStatistics) -> None:
        """Takes in a training batch: averages, codes that learn by statistics, restarts.

        Does nothing when the codebook is frozen (`trainable = False`).
        """
        if not self.trainable:
            return
        counts, sums = _backend.sum_over_replicas([statistics.counts, statistics.sums])
        self.update_codes(counts, sums)
        if self.restart is not None:
            mean_count = ops.sum(counts) / self.codebook_size
            is_dead = self.recent_counts() < self.restart.threshold * mean_count
            candidates = _backend.from_first_replica(statistics.candidates)
            self.place_codes(is_dead, candidates, self.restart.reset * mean_count)

    def update_codes(self, counts: Tensor, sums: Tensor) -> None:
        """Moves averages, and codes that learn by them, towards a batch's statistics."""
        del sums
        self.average_counts.assign(_move(self.average_counts, counts, self.decay))

    def recent_counts(self) -> Tensor:
        """How many vectors of a batch lately chose each code, float32 `(codebook_size,)`."""
        return ops.convert_to_tensor(self.average_counts)

    def place_codes(self, is_placed: Tensor, codes: Tensor, count: Tensor) -> None:
        """Puts some codes elsewhere, as if `count` vectors of each batch had always chosen them.

        Args:
            is_placed: Boolean tensor of shape `(codebook_size,)`.
            codes: Float32 tensor of shape `(codebook_size, dim)`; rows not placed are ignored.
            count: Scalar float32 tensor.
        """
        raise NotImplementedError

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Places all codes by data, before training.

        Args:
            vectors: Array of shape `(..., dim)`, finite, with at least `codebook_size` vectors.
            start: `"kmeans"` puts the codes on the centres of scikit-learn's k-means (10
                iterations on at most 256 vectors a code); `"first"` on the first vectors.

        Raises:
            ValueError: If the vectors are too few, not finite or of another dimension.

        Example:
            >>> import numpy as np, keras_vq
            >>> vectors = np.random.default_rng(0).normal(size=(1000, 8)).astype("float32")
            >>> codebook = keras_vq.EMACodebook(16)
            >>> codebook.adapt(vectors)
        """
        vectors = _as_vectors(vectors)
        if not self.built:
            self.build(vectors.shape)
        if vectors.shape[1] != self.dim or len(vectors) < self.codebook_size:
            raise ValueError(
                f"`adapt` needs at least codebook_size = {self.codebook_size} vectors of "
                f"dimension {self.dim}. Received: {vectors.shape[0]} of dimension "
                f"{vectors.shape[1]}"
            )
        if start not in get_args(Start):
            raise ValueError(f"`start` must be one of {get_args(Start)}. Received: {start!r}")
        if start == "first":
            codes = vectors[: self.codebook_size]
        else:
            codes = kmeans_centres(vectors, self.codebook_size, self.seed)
        all_of_them = ops.ones((self.codebook_size,), "bool")
        self.place_codes(all_of_them, ops.convert_to_tensor(codes), ops.ones(()))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "codebook_size": self.codebook_size,
            "decay": self.decay,
            "restart": keras.saving.serialize_keras_object(self.restart),
            "initializer": keras.initializers.serialize(self.initializer),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BaseCodebook":
        """The codebook of a configuration."""
        config = dict(config)
        config["restart"] = keras.saving.deserialize_keras_object(config["restart"])
        return cls(**config)


def kmeans_centres(
    vectors: np.ndarray, clusters: int, seed: int | None = None, iterations: int = 10
) -> np.ndarray:
    """Centres of scikit-learn's k-means (k-means++ start, Lloyd's algorithm).

    Args:
        vectors: Float32 array of shape `(n, dim)`; of more than 256 a cluster a sample is used.
        clusters: Number of centres.
        seed: Seed of the sample and the start.
        iterations: Most iterations of Lloyd's algorithm.

    Returns:
        Float32 array of shape `(clusters, dim)`.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    most = 256 * clusters
    if len(vectors) > most:
        chosen = np.random.default_rng(seed).choice(len(vectors), most, replace=False)
        vectors = vectors[np.sort(chosen)]
    means = KMeans(clusters, n_init=1, max_iter=iterations, random_state=seed, algorithm="lloyd")
    with warnings.catch_warnings():
        # Ten iterations need not converge, and repeated vectors make fewer clusters than asked:
        # both are a fair start for codes that go on learning.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(vectors)
    return means.cluster_centers_.astype("float32")


def _as_vectors(vectors: Any) -> np.ndarray:
    vectors = np.asarray(ops.convert_to_numpy(vectors), dtype="float32")
    if vectors.ndim < 2 or not np.isfinite(vectors).all():
        raise ValueError(
            "`adapt` needs finite vectors of shape (..., dim). "
            f"Received: shape {vectors.shape}, all finite: {bool(np.isfinite(vectors).all())}"
        )
    return vectors.reshape(-1, vectors.shape[-1])


def _move(average: Tensor, value: Tensor, decay: float) -> Tensor:
    """An exponential moving average after one more value."""
    return decay * average + (1.0 - decay) * value
