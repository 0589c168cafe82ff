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

    where n scales to unit norm. A is drawn from N(0, 2 / (dim + code_dim)) (Xavier). The code
    vectors e are drawn from N(0, 1) and scaled to unit norm. The codes are labels that a model
    learns to predict from masked inputs. The quantized vectors are the code vectors, whose
    dimension differs from that of the inputs, and have no gradient. There is no loss.

    Source: Chiu et al., "Self-Supervised Learning with Random-Projection Quantizer for Speech
    Recognition" (BEST-RQ), 2022. The paper normalizes inputs over the data set; this layer
    normalizes each vector over its dimensions.

    Args:
        codebook_size: Integer. Number of codes, K.
        code_dim: Integer. Dimension of the code vectors. Defaults to 16.
        codebooks: Integer. Number of codebooks, each with its own projection: the number of labels
            per vector. Defaults to 1.
        seed: Integer. Seed of projections and code vectors. Defaults to `None`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Returns:
        A tuple `(quantized, indices)`. `quantized` has shape
        `inputs.shape[:-1] + (code_dim * codebooks,)`. `indices` is an int32 tensor of codes of
        shape `inputs.shape[:-1]`, or `inputs.shape[:-1] + (codebooks,)` for several codebooks.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.RandomProjectionQuantizer(8192, seed=0)
        >>> codes, indices = quantizer(np.zeros((2, 100, 80), "float32"))
        >>> tuple(codes.shape), tuple(indices.shape)
        ((2, 100, 16), (2, 100))
    """

    hint_without_estimator = "It passes no gradient: remove the argument."

    def __init__(
        self,
        codebook_size: int,
        code_dim: int = 16,
        codebooks: int = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _validation.check_positive_integer("codebook_size", codebook_size)
        self.code_dim = _validation.check_positive_integer("code_dim", code_dim)
        self.codebooks = _validation.check_positive_integer("codebooks", codebooks)
        self.seed = seed

    def build(self, input_shape: Shape) -> None:
        """Draws projections and code vectors for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        # One generator, because two with the same seed would draw the same numbers.
        seeds = keras.random.SeedGenerator(self.seed)
        deviation = math.sqrt(2.0 / (self.dim + self.code_dim))
        self.projection = self._frozen(
            "projection",
            (self.codebooks, self.dim, self.code_dim),
            keras.initializers.RandomNormal(stddev=deviation, seed=seeds),
        )
        normal = keras.initializers.RandomNormal(stddev=1.0, seed=seeds)
        self.codes = self._frozen(
            "codes",
            (self.codebooks, self.size, self.code_dim),
            lambda shape, dtype: vq_ops.unit_vectors(normal(shape, dtype)),
        )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size K, once per codebook."""
        return (self.size,) * self.codebooks

    @property
    def index_shape(self) -> tuple[int, ...]:
        """Shape `()` for one codebook, `(codebooks,)` for several."""
        return (self.codebooks,) if self.codebooks > 1 else ()

    def output_shape_of(self, input_shape: Shape) -> Shape:
        """Returns the shape of the quantized vectors, which differs from that of the inputs."""
        return (*input_shape[:-1], self.codebooks * self.code_dim)

    def project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Projects normalized vectors to unit norm; concatenates the results of all codebooks."""
        del training
        centred = vectors - ops.mean(vectors, axis=-1, keepdims=True)
        variances = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        normal = centred * ops.rsqrt(variances + _EPSILON)
        projected = [
            vq_ops.unit_vectors(ops.matmul(normal, matrix))
            for matrix in ops.unstack(ops.convert_to_tensor(self.projection), axis=0)
        ]
        return ops.stop_gradient(ops.concatenate(projected, axis=-1))

    def find_indices(self, latents: Tensor, training: bool = False) -> Tensor:
        """Finds the code vector with the smallest angle in each codebook."""
        del training
        parts = ops.split(latents, self.codebooks, axis=-1)
        codes = vq_ops.unit_vectors(self.codes)
        found = [vq_ops.nearest_code(part, codes[number]) for number, part in enumerate(parts)]
        return ops.stack(found, axis=-1) if self.index_shape else found[0]

    def lookup(self, indices: Tensor) -> Tensor:
        """Looks up the code vectors of indices; concatenates those of all codebooks."""
        numbers = ops.unstack(indices, axis=-1) if self.index_shape else [indices]
        codes = ops.unstack(ops.convert_to_tensor(self.codes), axis=0)
        pairs = zip(codes, numbers, strict=True)
        return ops.concatenate([ops.take(own, number, axis=0) for own, number in pairs], axis=-1)

    def estimate(self, latents: Tensor, codes: Any, training: bool = False) -> Tensor:
        """Returns the code vectors without a gradient."""
        del latents, training
        return ops.stop_gradient(codes)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "codebook_size": self.size,
            "code_dim": self.code_dim,
            "codebooks": self.codebooks,
            "seed": self.seed,
        }

    def _frozen(self, name: str, shape: tuple[int, ...], initializer: Any) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype="float32",
            trainable=False,
            autocast=False,
        )
