"""Structural similarity (SSIM)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._types import Tensor

_WINDOW, _DEVIATION = 11, 1.5
_K1, _K2 = 0.01, 0.03


@keras.saving.register_keras_serializable("keras_vq")
class SSIM(keras.metrics.Mean):
    """Structural similarity (SSIM), averaged over images; in [-1, 1], 1 for equal images.

    Uses an 11 x 11 Gaussian window with a standard deviation of 1.5, at positions where the window
    is inside the image, and averages over channels.

    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural
    Similarity", 2004.

    Args:
        max_value: Float. Range of the pixels. Defaults to 1.
        name: String. Name of the metric.
        **kwargs: Arguments of `keras.metrics.Mean`.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((2, 16, 16, 3))
        >>> metric = keras_vq.metrics.SSIM()
        >>> metric.update_state(images, images)
        >>> round(float(metric.result()), 4)
        1.0
    """

    def __init__(self, max_value: float = 1.0, name: str = "ssim", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        # Callbacks maximize this metric.
        self._direction = "up"
        self.max_value = _validation.check_positive("max_value", max_value)

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Accumulates images of shape `(batch, height, width, channels)`, at least 11 x 11 pixels.

        Raises:
            ValueError: If the images have another rank or are smaller.
        """
        x, y = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        if len(x.shape) != 4 or min(x.shape[1:3]) < _WINDOW:
            raise ValueError(
                f"Images for SSIM must have shape (batch, height, width, channels) and at least "
                f"{_WINDOW} x {_WINDOW} pixels. Received: shape {tuple(x.shape)}"
            )
        mean_x, mean_y = _under_window(x), _under_window(y)
        # Clip variances that rounding makes negative.
        variance_x = ops.maximum(_under_window(x * x) - mean_x * mean_x, 0.0)
        variance_y = ops.maximum(_under_window(y * y) - mean_y * mean_y, 0.0)
        covariance = _under_window(x * y) - mean_x * mean_y
        c1, c2 = (_K1 * self.max_value) ** 2, (_K2 * self.max_value) ** 2
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
        of_images = ops.mean(luminance * structure, axis=(1, 2, 3))
        super().update_state(of_images, sample_weight=sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "max_value": self.max_value}


def _under_window(images: Tensor) -> Tensor:
    """Computes windowed means, `(batch, h, w, c)` to `(batch, h - 10, w - 10, c)`."""
    places = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(places**2) / (2 * _DEVIATION**2))
    weights = (weights / weights.sum()).astype("float32")
    # Separable sums of shifted images, because depthwise convolutions differ between backends.
    for axis in (1, 2):
        size = images.shape[axis] - _WINDOW + 1
        before = (slice(None),) * axis
        images = sum(
            weight * images[(*before, slice(start, start + size))]
            for start, weight in enumerate(weights.tolist())
        )
    return images
