"""Peak signal-to-noise ratio."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._types import Tensor


@keras.saving.register_keras_serializable("keras_vq")
class PSNR(keras.metrics.Mean):
    """Peak signal-to-noise ratio (PSNR), 10 log₁₀(peak² / MSE), in decibels.

    The PSNR of each image is averaged. The PSNR of the mean error of a set is lower. An image
    without error counts as 100 dB.

    Args:
        max_value: Float. Peak value, the range of the pixels. Defaults to 1.
        name: String. Name of the metric.
        **kwargs: Arguments of `keras.metrics.Mean`.

    Example:
        >>> import numpy as np, keras_vq
        >>> metric = keras_vq.metrics.PSNR()
        >>> metric.update_state(np.zeros((1, 4, 4, 1)), np.full((1, 4, 4, 1), 0.1))
        >>> round(float(metric.result()), 3)
        20.0
    """

    def __init__(self, max_value: float = 1.0, name: str = "psnr", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        # Callbacks maximize this metric.
        self._direction = "up"
        self.max_value = _validation.check_positive("max_value", max_value)

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Accumulates images of shape `(batch, ...)` with weights of shape `(batch,)`."""
        y_true = ops.cast(y_true, "float32")
        error = ops.square(ops.cast(y_pred, "float32") - y_true)
        mse = ops.mean(ops.reshape(error, (ops.shape(error)[0], -1)), axis=1)
        ratio = vq_ops.peak_signal_to_noise_ratio(mse, self.max_value)
        super().update_state(ratio, sample_weight=sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "max_value": self.max_value}
