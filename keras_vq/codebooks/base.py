"""Base class of codebooks."""

from typing import Any, get_args

import keras
from keras import ops

from keras_vq import _validation, backend
from keras_vq import ops as vq_ops
from keras_vq._configurable import ConfigurableLayer
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._non_finite import WarnsOfNonFinite
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.batch_stats import AssignedVectors, CodeStatistics
from keras_vq.codebooks.kmeans import Start, kmeans_centers, read_vectors
from keras_vq.codebooks.restart import RestartRule
from keras_vq.codebooks.restart import get as get_restart_rule

# Count of a code vector set before training, which the first batch replaces by its mean count.
OF_MEAN_COUNT = -1.0


class Codebook(WarnsOfNonFinite, ConfigurableLayer):
    """Base class of codebooks: a table of `codebook_size` code vectors and its update rule.

    A quantizer owns a codebook, searches its code vectors, and passes it the statistics of each
    training batch. A subclass implements `code_vectors`, the update rule (`_loss` for
    updates by gradient, `_update_embeddings` for updates from statistics) and `_move_embeddings`
    (re-initialization of code vectors).

    State updated in training: `ema_counts`, the exponential moving average (EMA) of the number
    of vectors assigned to each code per batch. `set_embeddings` and `adapt` set it to -1: a
    negative count is in units of the mean count of the next training batch, vectors /
    codebook_size.

    Args:
        codebook_size: Integer. Number of code vectors, K.
        decay: Float in [0, 1). Decay of the moving averages. Defaults to 0.99.
        restart: `RestartRule` such as `DeadCodeRestart`, its snake_case name, or `None` to disable
            restarts. Defaults to `None`.
        initializer: Keras initializer of the code vectors, of shape `(K, dim)`. `None` samples from
            a uniform distribution with variance 1 / dim. With a restart rule, code vectors from an
            explicit initializer count as used. Defaults to `None`.
        seed: Integer or `None`. Seed of k-means initialization and of `restart`. Defaults to
            `None`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> codebook = keras_vq.EMACodebook(3)  # a subclass
        >>> codebook.build((None, 2))
        >>> codebook.set_embeddings(np.eye(3, 2))
        >>> np.array(codebook.code_vectors())
        array([[1., 0.],
               [0., 1.],
               [0., 0.]], dtype=float32)
    """

    # Whether a batch updates the codebook before the lookup, and is quantized with the new vectors.
    _updates_before_lookup = False

    decay = Hyperparameter(_validation.check_fraction)

    def __init__(
        self,
        codebook_size: int,
        decay: float = 0.99,
        restart: str | RestartRule | None = None,
        initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.codebook_size = _validation.check_positive_integer("codebook_size", codebook_size)
        self.decay = decay
        self.restart = get_restart_rule(restart)
        self.has_own_initializer = initializer is not None
        self.initializer = (
            keras.initializers.get(initializer)
            if self.has_own_initializer
            else self._default_initializer()
        )
        self.seed = seed
        if self.restart is not None:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Shape) -> None:
        """Creates the state for inputs of shape `(..., dim)`."""
        dim = input_shape[-1]
        if dim is None:
            raise ValueError(
                "The last axis of the vectors, their dimension, must be known. "
                f"Received: shape {tuple(input_shape)}"
            )
        self.dim = int(dim)
        initial = 0.0 if self._starts_unused else 1.0
        if self._is_initialized:
            initial = OF_MEAN_COUNT
        self.ema_counts = self._add_state(
            "ema_counts", (self.codebook_size,), keras.initializers.Constant(initial)
        )

    def _default_initializer(self) -> keras.initializers.Initializer:
        """Returns the initializer of the code vectors that is used if none is given."""
        # Variance 1 / dim gives code vectors a norm near 1 in any dimension.
        return keras.initializers.VarianceScaling(mode="fan_out", distribution="uniform")

    @property
    def _is_initialized(self) -> bool:
        """Returns whether initial code vectors count as used, so that restart rules keep them."""
        return self.has_own_initializer and self.restart is not None

    @property
    def _starts_unused(self) -> bool:
        """Returns whether average counts are initialized to 0 instead of 1."""
        return self.restart is not None and self.restart._starts_unused

    def _add_state(
        self, name: str, shape: tuple[int, ...], initializer: Any, trainable: bool = False
    ) -> Any:
        """Adds a float32 weight that mixed-precision policies do not cast."""
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=trainable,
            dtype="float32",
            autocast=False,
        )

    def code_vectors(self) -> Tensor:
        """Returns all code vectors: float32, shape `(codebook_size, dim)`."""
        raise NotImplementedError

    def call(self, vectors: Tensor) -> Tensor:
        """Computes the nearest code of each vector: int32, shape `vectors.shape[:-1]`."""
        return vq_ops.nearest_code(ops.cast(vectors, "float32"), self.code_vectors())

    def compute_output_spec(self, vectors: Tensor) -> keras.KerasTensor:
        """Returns the shape and dtype of the codes."""
        return keras.KerasTensor(vectors.shape[:-1], dtype="int32")

    def _lookup(self, codes: Tensor) -> Tensor:
        """Returns the code vectors of codes: float32, shape `codes.shape + (dim,)`."""
        return ops.take(self.code_vectors(), codes, axis=0)

    def _loss(self, vectors: Tensor, quantized: Tensor, mask: Tensor | None) -> Tensor:
        """Computes the scalar codebook loss; 0 if code vectors are not updated by gradient."""
        del vectors, quantized, mask
        return ops.zeros(())

    def _statistics(
        self, vectors: Tensor, quantized: Tensor, codes: Tensor, mask: Tensor | None
    ) -> CodeStatistics:
        """Computes the statistics of this replica's batch: counts, sums, and restart candidates.

        Args:
            vectors: Float32 tensor of shape `(..., dim)`.
            quantized: Float32 tensor of the same shape. Code vector of each vector.
            codes: Int32 tensor of codes, of shape `(...)`.
            mask: Boolean tensor of shape `(...)`. `False` excludes a vector; `None` keeps all.
        """
        flat = ops.reshape(vectors, (-1, self.dim))
        codes = ops.reshape(codes, (-1,))
        weights = None
        if mask is not None:
            mask = ops.reshape(mask, (-1,))
            weights = ops.cast(mask, "float32")
            flat = ops.where(mask[:, None], flat, 0.0)
        counts = vq_ops.code_counts(codes, self.codebook_size, weights)
        sums = vq_ops.code_sums(flat, codes, self.codebook_size)
        if self.restart is None:
            return CodeStatistics(counts, sums, [])
        distances = ops.sum(ops.square(flat - ops.reshape(quantized, (-1, self.dim))), axis=-1)
        weights = ops.ones_like(distances) if weights is None else weights
        return CodeStatistics(counts, sums, [AssignedVectors.not_empty(flat, distances, weights)])

    def _update(self, statistics: CodeStatistics) -> None:
        """Updates averages and code vectors from a training batch, and applies the restart rule.

        Statistics are summed over replicas. Does nothing if the codebook is frozen (`trainable =
        False`).
        """
        if not self.trainable:
            return
        counts, sums = backend.all_reduce_sum([statistics.counts, statistics.sums])
        mean_count = ops.sum(counts) / self.codebook_size
        is_relative = ops.convert_to_tensor(self.ema_counts) < 0
        unit = ops.where(mean_count > 0, mean_count, 1.0)
        self._scale_averages(ops.where(is_relative, -unit, 1.0))
        self._update_embeddings(counts, sums)
        if self.restart is not None:
            move = self.restart._propose(
                ops.stop_gradient(self.code_vectors()),
                self.recent_counts(),
                mean_count,
                statistics.batches,
                self.seed_generator,
            )
            self._move_embeddings(*move)

    def _update_embeddings(self, counts: Tensor, sums: Tensor) -> None:
        """Updates the moving averages, and code vectors that depend on them, from statistics."""
        del sums
        self.ema_counts.assign(move_average(self.ema_counts, counts, self.decay))

    def _scale_averages(self, factors: Tensor) -> None:
        """Multiplies the moving averages of each code by a factor."""
        self.ema_counts.assign(self.ema_counts * factors)

    def recent_counts(self) -> Tensor:
        """Returns the EMA of assigned vectors per batch: float32, shape `(codebook_size,)`."""
        return ops.abs(self.ema_counts)

    def _move_embeddings(self, shares: Tensor, targets: Tensor, counts: Tensor) -> None:
        """Interpolates each code vector and its averages linearly towards a target.

        Args:
            shares: Float32 tensor of shape `(codebook_size,)`, in [0, 1]. Interpolation weights: 0
                keeps a code vector, 1 replaces it by its target.
            targets: Float32 tensor of shape `(codebook_size, dim)`.
            counts: Float32 tensor of shape `(codebook_size,)`. Target of the average counts.
        """
        raise NotImplementedError

    def _scale_to_unit_norm(self) -> None:
        """Scales the initial code vectors to unit norm, for quantizers with the cosine metric."""
        embeddings = vq_ops.unit_vectors(self.code_vectors())
        if self._is_initialized:
            self._place_embeddings(embeddings)
        else:
            self._move_embeddings(ops.ones((self.codebook_size,)), embeddings, self.recent_counts())

    def _place_embeddings(self, embeddings: Tensor) -> None:
        """Replaces all code vectors and sets their averages as for uniform usage.

        Args:
            embeddings: Float32 tensor of shape `(codebook_size, dim)`. New code vectors.
        """
        each = ops.ones((self.codebook_size,))
        self._move_embeddings(each, embeddings, OF_MEAN_COUNT * each)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets all code vectors before training, e.g. to those of a pretrained codebook.

        The moving averages are initialized too: in the first training step each code counts as used
        as often as the mean code. EMA updates then start from these code vectors, and a restart
        rule does not treat them as dead.

        Args:
            embeddings: Array of shape `(codebook_size, dim)` with finite values.

        Raises:
            ValueError: If the array has another shape or contains NaN or infinity.

        Example:
            >>> import numpy as np, keras_vq
            >>> codebook = keras_vq.EMACodebook(16)
            >>> codebook.set_embeddings(np.eye(16, 8, dtype="float32"))
            >>> tuple(codebook.code_vectors().shape)
            (16, 8)
        """
        embeddings = _validation.check_embeddings(
            ops.convert_to_numpy(embeddings), self.codebook_size, getattr(self, "dim", None)
        )
        if not self.built:
            self.build(embeddings.shape)
        self._place_embeddings(ops.convert_to_tensor(embeddings))

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes all code vectors from data, before training (k-means initialization).

        Args:
            vectors: Array or data set of inputs of shape `(..., dim)`, with at least
                `codebook_size` vectors and finite values. Of a data set, which may be larger than
                memory, a random sample of at most 256 vectors per code is kept.
            start: String. `"kmeans"`, `"kmeans++"` and `"kmeans_random"` use cluster centers of
                k-means (10 iterations on a random sample of at most 256 vectors per code).
                `"kmeans++"` spreads the initial centers, in a time that grows with the square of
                the codebook size; `"kmeans_random"` samples them; `"kmeans"` is the former for at
                most 1,024 codes and else the latter. `"first"` uses the first `codebook_size`
                vectors without k-means. Defaults to `"kmeans"`.

        Raises:
            ValueError: If there are too few vectors, or if they have another dimension or contain
                NaN or infinity.

        Example:
            >>> import numpy as np, keras_vq
            >>> vectors = np.random.default_rng(0).normal(size=(1000, 8)).astype("float32")
            >>> codebook = keras_vq.EMACodebook(16)
            >>> codebook.adapt(vectors)
        """
        _validation.check_choice("start", start, get_args(Start))
        vectors = read_vectors(vectors, self.codebook_size, start)
        if not self.built:
            self.build(vectors.shape)
        if vectors.shape[1] != self.dim or len(vectors) < self.codebook_size:
            raise ValueError(
                f"`adapt` requires at least codebook_size = {self.codebook_size} vectors of "
                f"dimension {self.dim}. Received: {vectors.shape[0]} vectors of dimension "
                f"{vectors.shape[1]}"
            )
        if start == "first":
            embeddings = vectors[: self.codebook_size]
        else:
            embeddings = kmeans_centers(vectors, self.codebook_size, self.seed, start=start)
        # PyTorch processes may have received different vectors.
        embeddings = backend.broadcast_first_replica(ops.convert_to_tensor(embeddings))
        self._place_embeddings(embeddings)


def move_average(average: Tensor, value: Tensor, decay: float) -> Tensor:
    """Returns an exponential moving average (EMA) updated with one value."""
    return decay * average + (1.0 - decay) * value


def lerp(shares: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Interpolates linearly from start to end, exact at both endpoints."""
    return (1.0 - shares) * start + shares * end
