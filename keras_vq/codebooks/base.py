"""What every codebook is: where codes live, and how they are found, learnt and restarted."""

import warnings
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from keras_vq import _backend, _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import ConfigurableLayer, Hyperparameter
from keras_vq._inputs import as_array
from keras_vq._non_finite import warn_of_non_finite
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.restart import RestartRule
from keras_vq.codebooks.statistics import Batch, CodeStatistics

Start = Literal["kmeans", "first"]

# Count of a code that was placed before training: the mean count of the first batch, once known.
OF_MEAN_COUNT = -1.0


class BaseCodebook(ConfigurableLayer):
    """Abstract codebook: `codebook_size` codes of the dimension of the vectors it is built for.

    A codebook is part of a quantizer, which searches its codes and hands it each training
    batch's statistics. A subclass says where the codes are (`codes`), how they learn
    (`loss` by gradient, or `update_codes` by statistics) and how one is placed anew
    (`move_codes`).

    State that changes in training: `average_counts`, the moving average of how many vectors of a
    batch choose each code. After `set_embeddings` or `adapt` it is -1 until the first training
    batch: a negative count is in units of that batch's mean count, vectors / codebook_size.

    Args:
        codebook_size: Number of codes, K.
        decay: Decay of the moving averages, in [0, 1).
        restart: A `RestartRule` such as `DeadCodeRestart`, or None to leave unused codes where
            they are.
        initializer: Keras initializer of the (K, dim) codes; uniform of variance 1 / dim when
            None. With a restart rule, the codes of an explicit initializer count as used.
        seed: Seed of the restarts.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    # Whether codes learn from a batch before it is quantized: then by the new codes.
    learns_before_lookup = False

    decay = Hyperparameter(_validation.check_fraction)

    def __init__(
        self,
        codebook_size: int,
        decay: float = 0.99,
        restart: RestartRule | None = None,
        initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("regularizer", None) is not None:
            raise ValueError(
                "A `regularizer` acts by gradient, and the codes of this codebook do not learn by "
                "gradient: it would do nothing. Use keras_vq.Codebook. "
                f"Received: a regularizer for {type(self).__name__}"
            )
        super().__init__(**kwargs)
        self.codebook_size = _validation.check_positive_integer("codebook_size", codebook_size)
        self.decay = decay
        if not (restart is None or isinstance(restart, RestartRule)):
            raise ValueError(
                "`restart` must be a RestartRule, such as DeadCodeRestart(), or None. "
                f"Received: {restart!r}"
            )
        self.restart = restart
        self.has_own_initializer = initializer is not None
        self.initializer = (
            keras.initializers.get(initializer)
            if self.has_own_initializer
            else self.default_initializer()
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
        initial = 0.0 if self.starts_unused else 1.0
        if self.starts_placed:
            initial = OF_MEAN_COUNT
        self.average_counts = self.add_state(
            "average_counts", (self.codebook_size,), keras.initializers.Constant(initial)
        )

    def default_initializer(self) -> keras.initializers.Initializer:
        """Returns the initializer of the codes when none is given."""
        # Variance 1/dim, so that codes have a norm near 1 whatever the dimension.
        return keras.initializers.VarianceScaling(mode="fan_out", distribution="uniform")

    @property
    def starts_placed(self) -> bool:
        """Returns whether the initial codes count as used, so that restarts leave them."""
        return self.has_own_initializer and self.restart is not None

    @property
    def starts_unused(self) -> bool:
        """Whether codes that no vector chose yet have a count of zero, not of one."""
        return self.restart is not None and self.restart.starts_unused

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
        return vq_ops.nearest_code(ops.cast(vectors, "float32"), self.codes())

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
        """What a batch of this replica tells: counts, sums, and vectors if codes restart.

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
        if self.restart is None:
            return CodeStatistics(counts, sums, [])
        distances = ops.sum(ops.square(flat - ops.reshape(codes, (-1, self.dim))), axis=-1)
        weights = ops.ones_like(distances) if weights is None else weights
        return CodeStatistics(counts, sums, [Batch.not_empty(flat, distances, weights)])

    def update(self, statistics: CodeStatistics) -> None:
        """Takes in a training batch: averages, codes that learn by statistics, restarts.

        Does nothing when the codebook is frozen (`trainable = False`).
        """
        if not self.trainable:
            return
        counts, sums = _backend.sum_over_replicas([statistics.counts, statistics.sums])
        mean_count = ops.sum(counts) / self.codebook_size
        is_relative = ops.convert_to_tensor(self.average_counts) < 0
        unit = ops.where(mean_count > 0, mean_count, 1.0)
        self.scale_averages(ops.where(is_relative, -unit, 1.0))
        self.update_codes(counts, sums)
        if self.restart is not None:
            move = self.restart.move(
                ops.stop_gradient(self.codes()),
                self.recent_counts(),
                mean_count,
                statistics.batches,
                self.seed_generator,
            )
            self.move_codes(*move)

    def update_codes(self, counts: Tensor, sums: Tensor) -> None:
        """Moves averages, and codes that learn by them, towards a batch's statistics."""
        del sums
        self.average_counts.assign(move_average(self.average_counts, counts, self.decay))

    def scale_averages(self, factors: Tensor) -> None:
        """Multiplies the moving averages of each code by its factor."""
        self.average_counts.assign(self.average_counts * factors)

    def recent_counts(self) -> Tensor:
        """How many vectors of a batch lately chose each code, float32 `(codebook_size,)`."""
        return ops.abs(self.average_counts)

    def move_codes(self, shares: Tensor, targets: Tensor, counts: Tensor) -> None:
        """Moves each code its share of the way to its target, its averages with it.

        Args:
            shares: Float32 tensor of shape `(codebook_size,)`, in [0, 1]; 0 leaves a code.
            targets: Float32 tensor of shape `(codebook_size, dim)`.
            counts: Float32 tensor of shape `(codebook_size,)`: a code moved wholly is from then
                on taken to have been chosen by so many vectors of each batch.
        """
        raise NotImplementedError

    def scale_to_unit_norm(self) -> None:
        """Scales the initial codes to unit norm, for a quantizer that compares directions."""
        codes = vq_ops.unit_vectors(self.codes())
        if self.starts_placed:
            self.place_codes(codes)
        else:
            self.move_codes(ops.ones((self.codebook_size,)), codes, self.recent_counts())

    def place_codes(self, codes: Tensor) -> None:
        """Replaces all codes, and sets their averages as if all had been used alike.

        Args:
            codes: Float32 tensor of shape `(codebook_size, dim)`.
        """
        each = ops.ones((self.codebook_size,))
        self.move_codes(each, codes, OF_MEAN_COUNT * each)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets all codes, such as those of a pretrained codebook, before training.

        The moving averages are set with them: in the first training step each code weighs as much
        as the vectors that choose a code on average, so that training goes on from the codes, and
        a restart rule counts them as used.

        Args:
            embeddings: Array of shape `(codebook_size, dim)`, finite.

        Raises:
            ValueError: If the array has another shape, or is not finite.

        Example:
            >>> import numpy as np, keras_vq
            >>> codebook = keras_vq.EMACodebook(16)
            >>> codebook.set_embeddings(np.eye(16, 8, dtype="float32"))
            >>> tuple(codebook.codes().shape)
            (16, 8)
        """
        embeddings = _validation.check_embeddings(
            ops.convert_to_numpy(embeddings), self.codebook_size, getattr(self, "dim", None)
        )
        if not self.built:
            self.build(embeddings.shape)
        self.place_codes(ops.convert_to_tensor(embeddings))

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
        _validation.check_choice("start", start, get_args(Start))
        if start == "first":
            codes = vectors[: self.codebook_size]
        else:
            codes = kmeans_centres(vectors, self.codebook_size, self.seed)
        # Each process of PyTorch may have been given other vectors.
        codes = _backend.from_first_replica(ops.convert_to_tensor(codes))
        self.place_codes(codes)

    def load_own_variables(self, store: Any) -> None:
        """Loads the weights, with a warning if they hold NaN or infinity."""
        super().load_own_variables(store)
        warn_of_non_finite(self)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "codebook_size": self.codebook_size,
            "decay": self.decay,
            "restart": keras.saving.serialize_keras_object(self.restart),
            "initializer": (
                keras.initializers.serialize(self.initializer) if self.has_own_initializer else None
            ),
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
    vectors = np.asarray(ops.convert_to_numpy(as_array("vectors", vectors)), dtype="float32")
    if vectors.ndim < 2 or not np.isfinite(vectors).all():
        raise ValueError(
            "`adapt` needs finite vectors of shape (..., dim). "
            f"Received: shape {vectors.shape}, all finite: {bool(np.isfinite(vectors).all())}"
        )
    return vectors.reshape(-1, vectors.shape[-1])


def move_average(average: Tensor, value: Tensor, decay: float) -> Tensor:
    """An exponential moving average after one more value."""
    return decay * average + (1.0 - decay) * value


def part_of_the_way(shares: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Point on the way from start to end: start to the bit for a share of 0, end for 1."""
    return (1.0 - shares) * start + shares * end
