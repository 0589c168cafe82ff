"""Random-projection quantizer (BEST-RQ)."""

import math
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._types import Shape, Tensor
from keras_vq.quantizers.base import Quantizer

_EPSILON = 1e-5


@keras.saving.register_keras_serializable("keras_vq")
class RandomProjectionQuantizer(Quantizer):
    """Random-projection quantizer (BEST-RQ): frozen projection and codebook, for training targets.

        k = argmin_k ‖ e_k - n(A z) ‖,   z = (x - mean x) / √(var x + 1e-5)

    where n scales to unit norm. A is drawn from N(0, 2 / (dim + embedding_dim)) (Xavier). The
    code vectors e are drawn from N(0, 1) and scaled to unit norm. The codes are labels that a model
    learns to predict from masked inputs. The quantized vectors are the code vectors, whose
    dimension differs from that of the inputs, and have no gradient. There is no loss.

    Source: Chiu et al., "Self-Supervised Learning with Random-Projection Quantizer for Speech
    Recognition" (BEST-RQ), 2022. The paper normalizes inputs over the data set; this layer
    normalizes each vector over its dimensions.

    Args:
        codebook_size: Integer. Number of code vectors of each codebook, K.
        embedding_dim: Integer. Dimension of the code vectors. Defaults to 16.
        num_codebooks: Integer. Number of codebooks, each with its own projection: the number of
            labels per vector. Defaults to 1.
        seed: Integer. Seed of projections and code vectors. Defaults to `None`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Returns:
        A tuple `(quantized, codes)`. `quantized` has shape
        `inputs.shape[:-1] + (num_codebooks * embedding_dim,)`. `codes` is an int32 tensor of codes
        of shape `inputs.shape[:-1]`, or `inputs.shape[:-1] + (num_codebooks,)` for several
        codebooks.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.RandomProjectionQuantizer(8192, seed=0)
        >>> quantized, codes = quantizer(np.zeros((2, 100, 80), "float32"))
        >>> tuple(quantized.shape), tuple(codes.shape)
        ((2, 100, 16), (2, 100))
    """

    _hint_without_estimator = "The quantizer has no gradient. Remove the argument."

    def __init__(
        self,
        codebook_size: int,
        embedding_dim: int = 16,
        num_codebooks: int = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _validation.check_positive_integer("codebook_size", codebook_size)
        self.embedding_dim = _validation.check_positive_integer("embedding_dim", embedding_dim)
        self.num_codebooks = _validation.check_positive_integer("num_codebooks", num_codebooks)
        self.seed = seed

    def build(self, input_shape: Shape) -> None:
        """Draws projections and code vectors for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        # One generator, because two with the same seed would draw the same numbers.
        seeds = keras.random.SeedGenerator(self.seed)
        deviation = math.sqrt(2.0 / (self.dim + self.embedding_dim))
        self.projection = self._frozen(
            "projection",
            (self.num_codebooks, self.dim, self.embedding_dim),
            keras.initializers.RandomNormal(stddev=deviation, seed=seeds),
        )
        normal = keras.initializers.RandomNormal(stddev=1.0, seed=seeds)
        self.embeddings = self._frozen(
            "embeddings",
            (self.num_codebooks, self.size, self.embedding_dim),
            lambda shape, dtype: vq_ops.unit_vectors(normal(shape, dtype)),
        )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size K, once per codebook."""
        return (self.size,) * self.num_codebooks

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape `()` for one codebook, `(num_codebooks,)` for several."""
        return (self.num_codebooks,) if self.num_codebooks > 1 else ()

    def _compute_quantized_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the quantized vectors, which differs from that of the inputs."""
        return (*input_shape[:-1], self.num_codebooks * self.embedding_dim)

    def _project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Projects normalized vectors to unit norm; concatenates the results of all codebooks."""
        del training
        centered = vectors - ops.mean(vectors, axis=-1, keepdims=True)
        variances = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        normal = centered * ops.rsqrt(variances + _EPSILON)
        projected = [
            vq_ops.unit_vectors(ops.matmul(normal, matrix))
            for matrix in ops.unstack(ops.convert_to_tensor(self.projection), axis=0)
        ]
        return ops.stop_gradient(ops.concatenate(projected, axis=-1))

    def _search_codes(self, latents: Tensor, training: bool = False) -> Tensor:
        """Finds the code vector with the smallest angle in each codebook."""
        del training
        parts = ops.split(latents, self.num_codebooks, axis=-1)
        embeddings = vq_ops.unit_vectors(self.embeddings)
        found = [vq_ops.nearest_code(part, embeddings[number]) for number, part in enumerate(parts)]
        return ops.stack(found, axis=-1) if self.code_shape else found[0]

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the code vectors of codes; concatenates those of all codebooks."""
        numbers = ops.unstack(codes, axis=-1) if self.code_shape else [codes]
        embeddings = ops.unstack(ops.convert_to_tensor(self.embeddings), axis=0)
        pairs = zip(embeddings, numbers, strict=True)
        return ops.concatenate([ops.take(own, number, axis=0) for own, number in pairs], axis=-1)

    def _estimate(self, latents: Tensor, quantized: Any, training: bool = False) -> Tensor:
        """Returns the code vectors without a gradient."""
        del latents, training
        return ops.stop_gradient(quantized)

    def _frozen(self, name: str, shape: tuple[int, ...], initializer: Any) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype="float32",
            trainable=False,
            autocast=False,
        )
