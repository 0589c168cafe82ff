"""Finite scalar quantization: each number of a vector is bounded and rounded."""

from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Tensor
from keras_vq.estimators import Estimator
from keras_vq.quantizers.level_quantizer import LevelQuantizer

Convention = Literal["mentzer", "vector_quantize_pytorch", "symmetric"]


@keras.saving.register_keras_serializable("keras_vq")
class FiniteScalarQuantizer(LevelQuantizer):
    """Bounds each number of a vector and rounds it to one of a few levels; nothing is learnt.

    With L levels in a dimension, h = ⌊L/2⌋ and o = 1/2 if L is even, else 0:

        b = (a tanh(z + s) - o) / h,   q = round(b h) / h

    The gradient passes the rounding unchanged and the bound by its derivative. There is no loss:
    the layer needs no commitment. Index = Σ_i j_i ∏_{j<i} L_j, with j = q h + h.

    The constants are those of one of three conventions, which differ in codes (0.2 % of numbers
    for the first two), so that a model trained by one does not fit another:

    - `"mentzer"`: a = (L - 1)(1 - ε)/2, s = tan(o/a), ε = 1e-3, as published by the authors;
      hence the default.
    - `"vector_quantize_pytorch"`: a = (L - 1)(1 + ε)/2, s = artanh(o/a), for which 0 becomes 0.
      Not defined for 2 levels in that library, nor here.
    - `"symmetric"`: b = tanh z and q = 2/(L-1) ⌊(L-1)(b+1)/2 + 1/2⌋ - 1, levels evenly over
      [-1, 1], also for even L (Parker et al., 2024). The one to take for 2 levels: by
      `"mentzer"` those are -1 and 0 with the border at z = -1.56.

    Sources: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023; Parker et
    al., "Scaling Transformers for Low-Bitrate High-Quality Speech Coding", 2024, section 3.2.

    Args:
        levels: Number of levels of each dimension, a list of whole numbers of at least 2. Their
            product, the number of codes, is at most 2³¹ - 1. The paper recommends [8, 6, 5] for
            2⁸, [8, 5, 5, 5] for 2¹⁰, [7, 5, 5, 5, 5] for 2¹², [8, 8, 8, 6, 5] for 2¹⁴ and
            [8, 8, 8, 5, 5, 5] for 2¹⁶ codes.
        convention: One of the above.
        noise: Probability in [0, 1) that in training a number is not rounded, but gets uniform
            noise as wide as a level, and is clipped to the range of the codes (Parker et al.).
            Indices are those of rounding.
        estimator: How gradients pass the rounding; see `Quantizer`.
        seed: Seed of the noise.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range, or inputs have another dimension than
            there are levels.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.FiniteScalarQuantizer([8, 5, 5, 5])
        >>> quantized, indices = quantizer(np.zeros((2, 7, 7, 4), "float32"))
        >>> tuple(indices.shape), quantizer.codebook_size
        ((2, 7, 7), 1000)
    """

    noise = Hyperparameter(_validation.check_fraction, zero_is_off=True)

    def __init__(
        self,
        levels: Any,
        convention: Convention = "mentzer",
        noise: float = 0.0,
        estimator: str | Estimator = "straight_through",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(levels, estimator, **kwargs)
        self.convention = _validation.check_choice("convention", convention, get_args(Convention))
        if convention == "vector_quantize_pytorch" and 2 in self.levels:
            raise ValueError(
                "The convention 'vector_quantize_pytorch' is not defined for 2 levels; take "
                f"'symmetric'. Received: levels {self.levels}"
            )
        self.noise = noise
        self.seed = seed
        self.adds_noise = noise > 0
        if self.adds_noise:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self._set_constants()

    def project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """The bounded numbers."""
        del training
        bounded = ops.tanh(ops.add(vectors, self._shift))
        levels = ops.subtract(ops.multiply(bounded, self._amplitude), self._offset)
        return ops.divide(levels, self._half)

    def find_levels(self, latents: Tensor) -> Tensor:
        """The nearest level of each number."""
        if self.convention == "symmetric":
            levels = ops.floor(ops.multiply(latents + 1.0, self._half) + 0.5)
        else:
            levels = ops.add(ops.round(ops.multiply(latents, self._half)), self._half)
        return ops.clip(ops.cast(levels, "int32"), 0, self._sizes - 1)

    def find_codes(
        self, latents: Tensor, training: bool = False, **context: Any
    ) -> tuple[Tensor, Tensor]:
        """The nearest codes, in training with noise; and indices."""
        codes, indices = super().find_codes(latents, training=training, **context)
        if training and self.adds_noise:
            shape = ops.shape(latents)
            is_noisy = keras.random.uniform(shape, seed=self.seed_generator) < self.noise
            noise = keras.random.uniform(shape, -0.5, 0.5, seed=self.seed_generator)
            noisy = latents + ops.divide(noise, self._half)
            noisy = ops.clip(noisy, self._lowest, self._highest)
            codes = ops.where(is_noisy, noisy, codes)
        return codes, indices

    def values_of_levels(self) -> Tensor:
        """The levels of all dimensions in one row."""
        return ops.convert_to_tensor(self._values)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "convention": self.convention,
            "noise": self.noise,
            "seed": self.seed,
        }

    def _set_constants(self) -> None:
        levels = np.array(self.levels, "float64")
        if self.convention == "symmetric":
            half = (levels - 1.0) / 2.0
            offset, shift, amplitude = 0.0 * half, 0.0 * half, half
            centre = half
        else:
            centre = half = levels // 2
            offset = np.where(levels % 2 == 0, 0.5, 0.0)
            is_official = self.convention == "mentzer"
            amplitude = (levels - 1.0) * (1.0 - 1e-3 if is_official else 1.0 + 1e-3) / 2.0
            ratio = offset / amplitude
            shift = np.tan(ratio) if is_official else np.arctanh(ratio)
        values = [
            (np.arange(count) - middle) / scale
            for count, middle, scale in zip(self.levels, centre, half, strict=True)
        ]
        self._lowest = np.array([row[0] for row in values], "float32")
        self._highest = np.array([row[-1] for row in values], "float32")
        self._values = np.concatenate(values).astype("float32")
        self._half, self._offset = half.astype("float32"), offset.astype("float32")
        self._shift, self._amplitude = shift.astype("float32"), amplitude.astype("float32")
