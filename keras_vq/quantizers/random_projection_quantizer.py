"""The random-projection quantizer of BEST-RQ: labels that nothing learns."""

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
    """Projects vectors by a random matrix to the nearest of random codes, both frozen.

        k = argmin_k ‖ e_k - n(A z) ‖,   z = (x - mean x) / √(var x + 1e-5)

    with n scaling to unit norm. A is drawn from N(0, 2 / (dim + code_dim)) (Xavier), codes e
    from N(0, 1) and scaled to unit norm. The indices are labels for a model to predict from
    masked inputs. The quantized vectors are the codes, of another dimension than the inputs,
    and without a gradient. There is no loss.

    Source: Chiu et al., "Self-Supervised Learning with Random-Projection Quantizer for Speech
    Recognition" (BEST-RQ), 2022. It normalises inputs over the data; here each
    vector is, over its dimensions.

    Args:
        codebook_size: Number of codes, K.
        code_dim: Dimension of the codes.
        codebooks: Number of projections, each with codes of its own, for as many labels a
            vector.
        seed: Seed of projections and codes.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

    Returns:
        A pair: codes, of shape `inputs.shape[:-1] + (code_dim * codebooks,)`; and indices, of
        shape `inputs.shape[:-1]`, or `inputs.shape[:-1] + (codebooks,)` for more than one.

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
        """Draws projections and codes for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        # One generator for both, which from one seed would be the same numbers.
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
        """The number of codes, K, once for each codebook."""
        return (self.size,) * self.codebooks

    @property
    def index_shape(self) -> tuple[int, ...]:
        """() for one codebook, (codebooks,) for more."""
        return (self.codebooks,) if self.codebooks > 1 else ()

    def output_shape_of(self, input_shape: Shape) -> Shape:
        """Shape of the codes."""
        return (*input_shape[:-1], self.codebooks * self.code_dim)

    def project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Unit vectors of the projections, one codebook's after another's."""
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
        """For each codebook the index of the code at the smallest angle."""
        del training
        parts = ops.split(latents, self.codebooks, axis=-1)
        codes = vq_ops.unit_vectors(self.codes)
        found = [vq_ops.nearest_code(part, codes[number]) for number, part in enumerate(parts)]
        return ops.stack(found, axis=-1) if self.index_shape else found[0]

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of indices, one codebook's after another's."""
        numbers = ops.unstack(indices, axis=-1) if self.index_shape else [indices]
        codes = ops.unstack(ops.convert_to_tensor(self.codes), axis=0)
        pairs = zip(codes, numbers, strict=True)
        return ops.concatenate([ops.take(own, number, axis=0) for own, number in pairs], axis=-1)

    def estimate(self, latents: Tensor, codes: Any, training: bool = False) -> Tensor:
        """The codes, without a gradient."""
        del latents, training
        return ops.stop_gradient(codes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
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
