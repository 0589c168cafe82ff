"""Binary quantization: each number of a vector becomes its sign (LFQ, BSQ)."""

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
from keras_vq.losses.code_entropy import CodeEntropy, as_entropy
from keras_vq.quantizers.base import Quantizer

# Most bits of one index, an int32.
_BITS_PER_WORD = 30

# Most bits whose joint distribution may be held: 65,536 numbers a vector.
_MOST_BITS_PER_GROUP = 16


@keras.saving.register_keras_serializable("keras_vq")
class BinaryQuantizer(Quantizer):
    """Replaces each number of a vector by its sign: 2^dim codes without a codebook.

    With u = x, or u = s x / |x| on the sphere, and c = s, or c = s / √dim on the sphere, each
    number becomes q = c if u > 0, else -c (0 becomes -c). The added loss is

        β · mean |u - sg(q)|² + a · mean of H(p) - b · H(mean of p)

    for the distribution p = softmax(-|u - e|² / T) of each vector over codes e, as in
    `losses.CodeEntropy`. Bits are independent in p, so H(p) is the sum over bits, exactly. H of
    the mean is the sum over groups of bits of the joint entropy within a group: exact up to
    `bits_per_group` dimensions, above that an upper bound, and never a table of all codes.

    A vector's index has the first dimension as its most significant bit, 1 where q > 0. One
    int32 holds up to 30 dimensions; for more, a vector has as few indices as hold its bits, in
    the order of dimensions, of equal numbers of bits or the first ones with one more.

    Sources: Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation"
    (MAGVIT-v2, lookup-free quantization), 2023, section 3.1; Zhao et al., "Image and Video
    Tokenization with Binary Spherical Quantization", 2024. The latter sums the commitment loss
    over dimensions; here all losses are means.

    Args:
        spherical: Whether vectors are scaled to the sphere first.
        commitment: β, weight of the commitment loss, at least 0.
        entropy: A `losses.CodeEntropy`; or a number, the weight of both its terms at temperature
            0.01 (0.1 and 0.01 as in the library vector_quantize_pytorch); 0 or None for none.
        bits_per_group: Most bits in a group of the entropy, from 1 to 16. It holds
            2^bits_per_group scores for every vector and group.
        scale: s, above 0: size of a code's numbers, or radius of the sphere.
        estimator: How gradients pass to the inputs; see `Quantizer`.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

    Returns:
        A pair: quantized vectors, and indices of shape `inputs.shape[:-1]`, or of
        `inputs.shape[:-1] + (words,)` above 30 dimensions.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.BinaryQuantizer(spherical=True)
        >>> quantized, indices = quantizer(np.zeros((2, 7, 7, 36), "float32"))
        >>> tuple(indices.shape), quantizer.bits_per_vector
        ((2, 7, 7, 2), 36.0)
    """

    commitment = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        spherical: bool = False,
        commitment: float = 0.25,
        entropy: float | CodeEntropy | None = 0.1,
        bits_per_group: int = 8,
        scale: float = 1.0,
        estimator: str | Estimator = "straight_through",
        **kwargs: Any,
    ) -> None:
        super().__init__(estimator, **kwargs)
        self.spherical = bool(spherical)
        self.commitment = commitment
        self.entropy = as_entropy(entropy)
        self.bits_per_group = _validation.check_positive_integer("bits_per_group", bits_per_group)
        if self.bits_per_group > _MOST_BITS_PER_GROUP:
            raise ValueError(
                f"`bits_per_group` must be at most {_MOST_BITS_PER_GROUP}: there are 2 to its "
                f"power scores for every vector. Received: {bits_per_group!r}"
            )
        self.scale = _validation.check_positive("scale", scale)

    def build(self, input_shape: Shape) -> None:
        """Divides the bits of vectors of shape `(..., dim)` into indices."""
        super().build(input_shape)
        self._words = _even_parts(self.dim, _BITS_PER_WORD)
        self._size = self.scale / math.sqrt(self.dim) if self.spherical else self.scale

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """For each index 2 to the power of its bits."""
        if not self.built:
            raise ValueError(
                "The codes of a BinaryQuantizer depend on the vectors' dimension: build it first. "
                "Received: a quantizer that is not built"
            )
        return tuple(2**bits for bits in self._words)

    @property
    def index_shape(self) -> tuple[int, ...]:
        """() up to 30 dimensions, and before the layer is built; above, the number of indices."""
        return (len(self._words),) if self.built and len(self._words) > 1 else ()

    def project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """The vectors, or on the sphere their directions, of norm `scale`."""
        del training
        return self.scale * vq_ops.unit_vectors(vectors) if self.spherical else vectors

    def find_indices(self, latents: Tensor, training: bool = False) -> Tensor:
        """The signs as bits of numbers."""
        del training
        bits = ops.cast(latents > 0, "int32")
        words = [
            ops.sum(ops.multiply(word, _powers(word.shape[-1])), axis=-1)
            for word in _split(bits, self._words)
        ]
        return ops.stack(words, axis=-1) if self.index_shape else words[0]

    def lookup(self, indices: Tensor) -> Tensor:
        """The signs of indices."""
        words = ops.unstack(indices, axis=-1) if self.index_shape else [indices]
        bits = [
            ops.mod(ops.floor_divide(ops.expand_dims(word, -1), _powers(count)), 2)
            for word, count in zip(words, self._words, strict=True)
        ]
        size = ops.convert_to_tensor(self._size, "float32")
        return ops.where(ops.concatenate(bits, axis=-1) > 0, size, -size)

    def commitment_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor:
        """The mean squared distance of vectors to their codes."""
        del indices
        return self.commitment * vq_ops.error_to_fixed(latents, codes, mask)

    def auxiliary_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor | float:
        """The entropy loss, if there is one."""
        if self.entropy is None:
            return 0.0
        groups = _split(latents, _even_parts(self.dim, self.bits_per_group))
        # All codes have one norm, so -2 u·e is the squared distance up to a constant of each
        # vector, and in float32 it is more exact.
        return sum(
            self.entropy(-2.0 * ops.matmul(group, self._codes_of(group.shape[-1])), mask)
            for group in groups
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "spherical": self.spherical,
            "commitment": self.commitment,
            "entropy": keras.saving.serialize_keras_object(self.entropy),
            "bits_per_group": self.bits_per_group,
            "scale": self.scale,
        }

    def _codes_of(self, bits: int) -> np.ndarray:
        """All codes of a group of bits, as columns: float32 `(bits, 2^bits)`."""
        signs = 2 * (np.arange(2**bits) // _powers(bits)[:, None] % 2) - 1
        return (self._size * signs).astype("float32")


def _powers(bits: int) -> np.ndarray:
    """What each bit of a number counts, the most significant first."""
    return 2 ** np.arange(bits - 1, -1, -1, dtype="int32")


def _even_parts(count: int, most: int) -> list[int]:
    """Sizes of as few parts as have at most so many each, the first ones larger by one."""
    return [len(part) for part in np.array_split(np.arange(count), -(-count // most))]


def _split(vectors: Tensor, sizes: list[int]) -> list[Tensor]:
    """The vectors' last axis in parts of given sizes."""
    ends = np.cumsum(sizes).tolist()
    return [vectors[..., end - size : end] for size, end in zip(sizes, ends, strict=True)]
