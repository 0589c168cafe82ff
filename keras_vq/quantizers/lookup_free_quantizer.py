"""Binary quantization: lookup-free (LFQ) and binary spherical quantization (BSQ)."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.estimators import Estimator
from keras_vq.losses.entropy import EntropyLoss, as_entropy
from keras_vq.quantizers.base import Assignment, Quantizer

# Maximum number of bits per int32 code.
_BITS_PER_WORD = 30

# Limit of `bits_per_group`: 65,536 scores per vector and group.
_MOST_BITS_PER_GROUP = 16


@keras.saving.register_keras_serializable("keras_vq")
class LookupFreeQuantizer(Quantizer):
    """Binary quantizer: lookup-free (LFQ) and binary spherical quantization (BSQ).

    Each component of a vector is replaced by its sign, times a constant: 2^dim code vectors
    without a codebook. With u = x and c = s for LFQ, or u = s x / |x| and c = s / √dim for BSQ,
    each component of u becomes q = c if it is positive, else q = -c. The added loss is

        β · mean |u - sg(q)|² + a · mean of H(p) - b · H(mean of p)

    where p = softmax(-|u - e|² / T) is the distribution of a vector over the code vectors e, as in
    `losses.EntropyLoss`. Both entropies are sums over groups of bits. The sum is exact for H(p), in
    which bits are independent. For H(mean of p) it is exact if all dimensions fit into one group,
    and an upper bound otherwise. Neither needs a table of all 2^dim code vectors.

    The first dimension is the most significant bit of a code; a bit is 1 where q > 0. An int32 code
    has up to 30 bits. A longer vector has the smallest sufficient number of codes, which split its
    dimensions in order and as evenly as possible, the larger parts first.

    Sources: Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation"
    (MAGVIT-v2, lookup-free quantization), 2023, section 3.1; Zhao et al., "Image and Video
    Tokenization with Binary Spherical Quantization", 2024. The latter sums the commitment loss
    over dimensions; here all losses are means.

    Args:
        spherical: Boolean. Whether to normalize vectors to the sphere (BSQ). Defaults to `False`.
        commitment_weight: Float, at least 0. Weight β of the commitment loss. Defaults to 0.25.
        entropy_loss: A `losses.EntropyLoss`, a float or `None`. A float is the weight of both
            entropy terms, at temperature T = 0.01; 0 or `None` disables the entropy loss. Defaults
            to 0.1. Weight and temperature are those of the library vector_quantize_pytorch.
        bits_per_group: Integer from 1 to 16. Maximum number of bits per group of the entropy loss,
            which stores 2^bits_per_group scores per vector and group. Defaults to 8.
        scale: Float, above 0. Absolute value s of the components of a code vector (LFQ), or radius
            s of the sphere (BSQ). Defaults to 1.0.
        estimator: Gradient estimator; see `Quantizer`. Defaults to `"straight_through"`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Returns:
        A tuple `(quantized, codes)`. `codes` is an int32 tensor of codes of shape
        `inputs.shape[:-1]`, or `inputs.shape[:-1] + (words,)` above 30 dimensions.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.LookupFreeQuantizer(spherical=True)
        >>> quantized, codes = quantizer(np.zeros((2, 7, 7, 36), "float32"))
        >>> tuple(codes.shape), quantizer.bits_per_vector
        ((2, 7, 7, 2), 36.0)
    """

    commitment_weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        spherical: bool = False,
        commitment_weight: float = 0.25,
        entropy_loss: float | EntropyLoss | None = 0.1,
        bits_per_group: int = 8,
        scale: float = 1.0,
        estimator: str | Estimator = "straight_through",
        **kwargs: Any,
    ) -> None:
        super().__init__(estimator, **kwargs)
        self.spherical = bool(spherical)
        self.commitment_weight = commitment_weight
        self.entropy_loss = as_entropy(entropy_loss)
        self.bits_per_group = _validation.check_positive_integer("bits_per_group", bits_per_group)
        if self.bits_per_group > _MOST_BITS_PER_GROUP:
            raise ValueError(
                f"`bits_per_group` must be at most {_MOST_BITS_PER_GROUP}, because the entropy "
                "loss computes 2 ** bits_per_group probabilities per vector. "
                f"Received: {bits_per_group!r}"
            )
        self.scale = _validation.check_positive("scale", scale)

    def build(self, input_shape: Shape) -> None:
        """Splits the dimensions of vectors of shape `(..., dim)` into int32 codes."""
        super().build(input_shape)
        self._words = _even_parts(self.dim, _BITS_PER_WORD)
        self._size = self.scale / math.sqrt(self.dim) if self.spherical else self.scale

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size of each code: 2 to the power of its number of bits."""
        if not self.built:
            raise ValueError(
                "The codebook sizes of a LookupFreeQuantizer depend on the dimension of its "
                "inputs. Received: an unbuilt quantizer. Build it first."
            )
        return tuple(2**bits for bits in self._words)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape `()` up to 30 dimensions and before `build`, else `(words,)`."""
        return (len(self._words),) if self.built and len(self._words) > 1 else ()

    def _project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Scales vectors to norm `scale` if `spherical`, else returns them unchanged."""
        del training
        return self.scale * vq_ops.unit_vectors(vectors) if self.spherical else vectors

    def _search_codes(self, latents: Tensor, training: bool = False) -> Tensor:
        """Packs the signs of latents into the bits of integers."""
        del training
        bits = ops.cast(latents > 0, "int32")
        words = [
            ops.sum(ops.multiply(word, _powers(word.shape[-1])), axis=-1)
            for word in _split(bits, self._words)
        ]
        return ops.stack(words, axis=-1) if self.code_shape else words[0]

    def _lookup(self, codes: Tensor) -> Tensor:
        """Unpacks the bits of codes into code vectors with components c and -c."""
        words = ops.unstack(codes, axis=-1) if self.code_shape else [codes]
        bits = [
            ops.mod(ops.floor_divide(ops.expand_dims(word, -1), _powers(count)), 2)
            for word, count in zip(words, self._words, strict=True)
        ]
        size = ops.convert_to_tensor(self._size, "float32")
        return ops.where(ops.concatenate(bits, axis=-1) > 0, size, -size)

    def _commitment_loss(self, assignment: Assignment) -> Tensor:
        """Computes the commitment loss: the weighted mean squared error of the quantization."""
        return self.commitment_weight * vq_ops.stop_gradient_mse(
            assignment.latents, assignment.quantized, assignment.mask
        )

    def _auxiliary_loss(self, assignment: Assignment) -> Tensor | float:
        """Computes the entropy loss, or returns 0 without one."""
        if self.entropy_loss is None:
            return 0.0
        groups = _split(assignment.latents, _even_parts(self.dim, self.bits_per_group))
        # All code vectors have the same norm, so -2 u·e differs from the squared distance by a
        # constant per vector, with a smaller rounding error in float32.
        return sum(
            self.entropy_loss(
                -2.0 * ops.matmul(group, self._codes_of(group.shape[-1])), assignment.mask
            )
            for group in groups
        )

    def _codes_of(self, bits: int) -> np.ndarray:
        """Returns all code vectors of a group of bits as columns, float32 `(bits, 2^bits)`."""
        signs = 2 * (np.arange(2**bits) // _powers(bits)[:, None] % 2) - 1
        return (self._size * signs).astype("float32")


def _powers(bits: int) -> np.ndarray:
    """Returns the place values of the bits, most significant first."""
    return 2 ** np.arange(bits - 1, -1, -1, dtype="int32")


def _even_parts(count: int, most: int) -> list[int]:
    """Splits `count` evenly into the fewest parts of at most `most`; returns their sizes."""
    return [len(part) for part in np.array_split(np.arange(count), -(-count // most))]


def _split(vectors: Tensor, sizes: list[int]) -> list[Tensor]:
    """Splits the last axis of a tensor into parts of given sizes."""
    ends = np.cumsum(sizes).tolist()
    return [vectors[..., end - size : end] for size, end in zip(sizes, ends, strict=True)]
