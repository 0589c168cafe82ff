"""Finite scalar quantization (FSQ)."""

from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Tensor
from keras_vq.estimators import Estimator
from keras_vq.quantizers.base import Assignment
from keras_vq.quantizers.level_quantizer import LevelQuantizer

Convention = Literal["mentzer", "vector_quantize_pytorch", "symmetric"]


@keras.saving.register_keras_serializable("keras_vq")
class FiniteScalarQuantizer(LevelQuantizer):
    """Finite scalar quantization (FSQ): bounds each component and rounds it to one of a few levels.

    The codebook is a fixed grid without trainable parameters. With L levels in a dimension,
    h = ⌊L/2⌋, and o = 1/2 for even L or 0 for odd L:

        b = (a tanh(z + s) - o) / h,   q = round(b h) / h

    The gradient passes the rounding unchanged (straight-through estimator), and the bound by its
    derivative. No loss is added. The code of a vector is Σ_i j_i ∏_{m<i} L_m, with j = q h + h.

    The constants a and s depend on the convention. A trained model fits its own convention only:
    even the first two assign different levels to 0.2 % of components.

    - `"mentzer"`: a = (L - 1)(1 - ε)/2, s = tan(o/a), ε = 1e-3, as published by the authors.
    - `"vector_quantize_pytorch"`: a = (L - 1)(1 + ε)/2, s = artanh(o/a), which maps 0 to 0.
      Undefined for 2 levels, as in that library.
    - `"symmetric"`: b = tanh z and q = 2/(L-1) ⌊(L-1)(b+1)/2 + 1/2⌋ - 1, with h = (L - 1)/2 in j:
      evenly spaced levels in [-1, 1], also for even L (Parker et al., 2024). Recommended for
      2 levels, which are -1 and 0 in `"mentzer"`, with the boundary at z = -1.56.

    Sources: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023; Parker et
    al., "Scaling Transformers for Low-Bitrate High-Quality Speech Coding", 2024, section 3.2.

    Args:
        levels: List of integers, at least 2. Number of levels of each dimension. Their product,
            the codebook size, is at most 2³¹ - 1. The paper recommends [8, 6, 5] for 2⁸,
            [8, 5, 5, 5] for 2¹⁰, [7, 5, 5, 5, 5] for 2¹², [8, 8, 8, 6, 5] for 2¹⁴ and
            [8, 8, 8, 5, 5, 5] for 2¹⁶ codes.
        convention: `"mentzer"`, `"vector_quantize_pytorch"` or `"symmetric"`; see above. Defaults
            to `"mentzer"`.
        noise: Float in [0, 1). Probability that a component in training is not rounded: it gets
            uniform noise as wide as the distance of two levels, and is clipped to the range of
            the levels (Parker et al.). The codes are those of rounding. Defaults to 0.0.
        estimator: Gradient estimator of the rounding; see `Quantizer`. Defaults to
            `"straight_through"`.
        seed: Integer. Seed of the noise. Defaults to `None`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range, or the last dimension of the inputs is not
            the number of entries in `levels`.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.FiniteScalarQuantizer([8, 5, 5, 5])
        >>> quantized, codes = quantizer(np.zeros((2, 7, 7, 4), "float32"))
        >>> tuple(codes.shape), quantizer.codebook_size
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
                "`levels` must be at least 3 for the convention 'vector_quantize_pytorch'. Use the "
                f"convention 'symmetric'. Received: {self.levels}"
            )
        self.noise = noise
        self.seed = seed
        self.adds_noise = noise > 0
        if self.adds_noise:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self._set_constants()

    def _project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Bounds each component."""
        del training
        bounded = ops.tanh(ops.add(vectors, self._shift))
        levels = ops.subtract(ops.multiply(bounded, self._amplitude), self._offset)
        return ops.divide(levels, self._half)

    def _find_levels(self, latents: Tensor) -> Tensor:
        """Returns the number of the nearest level of each component."""
        if self.convention == "symmetric":
            levels = ops.floor(ops.multiply(latents + 1.0, self._half) + 0.5)
        else:
            levels = ops.add(ops.round(ops.multiply(latents, self._half)), self._half)
        return ops.clip(ops.cast(levels, "int32"), 0, self._sizes - 1)

    def _search(self, latents: Tensor, training: bool = False, **context: Any) -> Assignment:
        """Returns the nearest code vectors and their codes.

        In training, noise replaces the rounding of randomly chosen components.
        """
        assignment = super()._search(latents, training=training, **context)
        if training and self.adds_noise:
            shape = ops.shape(latents)
            is_noisy = keras.random.uniform(shape, seed=self.seed_generator) < self.noise
            noise = keras.random.uniform(shape, -0.5, 0.5, seed=self.seed_generator)
            noisy = latents + ops.divide(noise, self._half)
            noisy = ops.clip(noisy, self._lowest, self._highest)
            quantized = ops.where(is_noisy, noisy, assignment.quantized)
            assignment = assignment._replace(quantized=quantized)
        return assignment

    def _level_values(self) -> Tensor:
        """Returns the levels of all dimensions, concatenated, float32 `(sum of levels,)`."""
        return ops.convert_to_tensor(self._values)

    @property
    def _has_codes(self) -> bool:
        """True, since the code vectors depend on the arguments alone."""
        return True

    def _set_constants(self) -> None:
        levels = np.array(self.levels, "float64")
        if self.convention == "symmetric":
            half = (levels - 1.0) / 2.0
            offset, shift, amplitude = 0.0 * half, 0.0 * half, half
            center = half
        else:
            center = half = levels // 2
            offset = np.where(levels % 2 == 0, 0.5, 0.0)
            is_official = self.convention == "mentzer"
            amplitude = (levels - 1.0) * (1.0 - 1e-3 if is_official else 1.0 + 1e-3) / 2.0
            ratio = offset / amplitude
            shift = np.tan(ratio) if is_official else np.arctanh(ratio)
        values = [
            (np.arange(count) - middle) / scale
            for count, middle, scale in zip(self.levels, center, half, strict=True)
        ]
        self._lowest = np.array([row[0] for row in values], "float32")
        self._highest = np.array([row[-1] for row in values], "float32")
        self._values = np.concatenate(values).astype("float32")
        self._half, self._offset = half.astype("float32"), offset.astype("float32")
        self._shift, self._amplitude = shift.astype("float32"), amplitude.astype("float32")
