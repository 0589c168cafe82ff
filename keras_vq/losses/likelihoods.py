"""Negative log-likelihoods of observations, the reconstruction terms of the VAE."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import Configurable
from keras_vq._registry import snake_case
from keras_vq._types import Tensor

_LOG_2_PI = math.log(2.0 * math.pi)


class NegativeLogLikelihood(Configurable, keras.losses.Loss):
    """Base class of negative log-likelihoods -log p(x | z), in nats per example.

    The nats are summed over the values of an example. With the KL divergence summed over latents
    they give the negative evidence lower bound (ELBO). A mean over values would multiply the weight
    of the KL divergence by the number of values, and lead to posterior collapse.

    A decoder returns the parameters of the distribution of each value: `parameters_per_value`
    channels for each channel of the data, all first parameters first. A subclass implements `_nats`
    and, if the first parameter is not the expected value, `expected_value`.

    Args:
        name: String. Name of the loss. Defaults to the name of the class in snake case.
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: Data of shape `(batch, ..., channels)`, clipped to `value_range`.
        y_pred: Decoder outputs of shape `(batch, ..., channels * parameters_per_value)`.

    Example:
        >>> import keras, numpy as np, keras_vq
        >>> class ExponentialNegativeLogLikelihood(keras_vq.losses.NegativeLogLikelihood):
        ...     def _nats(self, y_true, y_pred):  # y_pred: the expected value
        ...         return keras.ops.log(y_pred) + y_true / y_pred
        >>> loss = ExponentialNegativeLogLikelihood()
        >>> float(loss(np.ones((3, 2)), np.ones((3, 2))))
        2.0
    """

    # Whether p(x) is the probability of a value, rather than a density.
    is_discrete = False

    def __init__(self, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name or snake_case(type(self)), **kwargs)

    @property
    def parameters_per_value(self) -> int:
        """Number of decoder outputs for each value of the data."""
        return 1

    @property
    def value_range(self) -> tuple[float, float]:
        """Least and greatest value that has a likelihood."""
        return -math.inf, math.inf

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Computes the nats of each example: shape `(batch,)`."""
        y_pred = ops.cast(y_pred, "float32")
        y_true = ops.cast(y_true, "float32")
        expected, count = y_true.shape[-1], self.parameters_per_value
        if None not in (expected, y_pred.shape[-1]) and y_pred.shape[-1] != expected * count:
            raise ValueError(
                f"`y_pred` of {type(self).__name__} must have {count} channels for each of the "
                f"{expected} channels of `y_true`, {expected * count} in all. Received: shape "
                f"{tuple(y_pred.shape)}. Build the decoder with that number of output channels."
            )
        # Resampling and rounding move values a little outside the range.
        nats = self._nats(ops.clip(y_true, *self.value_range), y_pred)
        return ops.sum(ops.reshape(nats, (ops.shape(nats)[0], -1)), axis=1)

    def expected_value(self, y_pred: Tensor) -> Tensor:
        """Computes the expected value of each observation.

        Args:
            y_pred: Decoder outputs of shape `(batch, ..., channels * parameters_per_value)`.

        Returns:
            Tensor of shape `(batch, ..., channels)`.
        """
        return y_pred if self.parameters_per_value == 1 else ops.split(y_pred, 2, axis=-1)[0]

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Computes the nats of each value. Shape of `y_true`."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_vq")
class BernoulliNegativeLogLikelihood(NegativeLogLikelihood):
    """Bernoulli negative log-likelihood, the binary cross-entropy summed over the values.

    For values x and probabilities p it is -Σ (x log p + (1 - x) log(1 - p)). Gray pixels in (0, 1)
    are interpreted as the probability of white (Kingma and Welling, "Auto-Encoding Variational
    Bayes", 2013, appendix C.1); the likelihood is normalized only for values of 0 and 1.

    Args:
        **kwargs: Arguments of `keras.losses.Loss`, such as `reduction`.

    Call arguments:
        y_true: Data in [0, 1], of shape `(batch, ...)`.
        y_pred: Probabilities in [0, 1], of the same shape.

    Example:
        >>> import numpy as np, keras_vq
        >>> loss = keras_vq.losses.BernoulliNegativeLogLikelihood()
        >>> float(loss(np.ones((2, 4)), np.full((2, 4), 0.5))) / 4  # log 2 per value
        0.69314...
    """

    is_discrete = True

    @property
    def value_range(self) -> tuple[float, float]:
        """Least and greatest value that has a likelihood."""
        return 0.0, 1.0

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return keras.losses.binary_crossentropy(y_true[..., None], y_pred[..., None])


class _LocationScaleLikelihood(NegativeLogLikelihood):
    """Base class of densities of the residual x - μ in units of a fixed or predicted scale.

    Args:
        scale: Float or `None`. Fixed scale of all values. `None` means that the decoder returns the
            logarithm of the scale as a second parameter of each value.
        min_scale: Float above 0. Added to a predicted scale.
        **kwargs: Arguments of `keras.losses.Loss`.
    """

    def __init__(
        self,
        scale: float | None,
        min_scale: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._scale = scale
        self._min_log_scale = math.log(min_scale)

    @property
    def parameters_per_value(self) -> int:
        """Number of decoder outputs for each value of the data: 2 with a predicted scale."""
        return 2 if self._scale is None else 1

    def _location_and_log_scale(self, y_pred: Tensor) -> tuple[Tensor, Tensor | float]:
        if self._scale is not None:
            return y_pred, math.log(self._scale)
        location, log_scale = ops.split(y_pred, 2, axis=-1)
        # The log of scale + min_scale: values that the decoder predicts exactly, such as a black
        # margin, would otherwise drive the scale to 0 and the loss to minus infinity.
        least = self._min_log_scale
        return location, least + ops.softplus(log_scale - least)


@keras.saving.register_keras_serializable("keras_vq")
class GaussianNegativeLogLikelihood(_LocationScaleLikelihood):
    """Gaussian negative log-likelihood Σ ½((x - μ)² / σ² + log σ² + log 2π).

    The density has no upper bound, so the sum may be negative. With a fixed σ the loss is the
    squared error, divided by 2σ², plus a constant. With `sigma=None` the decoder returns means μ
    and then log σ, one of each per value; the layer `keras_vq.layers.LogScale` adds a learned log σ
    that is the same for all values, or for all values of a channel, to a decoder that returns only
    means. Source: Rybkin et al., "Simple and Effective VAE Training with Calibrated Decoders",
    2021.

    Args:
        sigma: Float or `None`. Fixed standard deviation σ; `None` if the decoder returns log σ.
            Defaults to `None`.
        min_sigma: Float above 0. Added to a predicted σ, as its lower bound. Defaults to 0.001.
        **kwargs: Arguments of `keras.losses.Loss`, such as `reduction`.

    Call arguments:
        y_true: Data of shape `(batch, ..., channels)`.
        y_pred: Means of the same shape, followed on the last axis by log σ if `sigma` is `None`.

    Raises:
        ValueError: If `sigma` or `min_sigma` is not above 0.

    Example:
        >>> import numpy as np, keras_vq
        >>> loss = keras_vq.losses.GaussianNegativeLogLikelihood(sigma=1.0)
        >>> float(loss(np.zeros((2, 4)), np.zeros((2, 4)))) / 4  # ½ log 2π per value
        0.91893...
    """

    def __init__(
        self,
        sigma: float | None = None,
        min_sigma: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        self.sigma = None if sigma is None else _validation.check_positive("sigma", sigma)
        self.min_sigma = _validation.check_positive("min_sigma", min_sigma)
        super().__init__(self.sigma, self.min_sigma, **kwargs)

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        mean, log_sigma = self._location_and_log_scale(y_pred)
        normalized = (y_true - mean) * ops.exp(-log_sigma)
        return 0.5 * ops.square(normalized) + log_sigma + 0.5 * _LOG_2_PI


@keras.saving.register_keras_serializable("keras_vq")
class LaplaceNegativeLogLikelihood(_LocationScaleLikelihood):
    """Laplace negative log-likelihood Σ (|x - μ| / b + log 2b).

    With a fixed scale b the loss is the absolute error, divided by b, plus a constant: it is less
    sensitive to outliers than a Gaussian. With `scale=None` the decoder returns medians μ and then
    log b, as for `GaussianNegativeLogLikelihood`.

    Args:
        scale: Float or `None`. Fixed scale b; `None` if the decoder returns log b. Defaults to
            `None`.
        min_scale: Float above 0. Added to a predicted b, as its lower bound. Defaults to 0.001.
        **kwargs: Arguments of `keras.losses.Loss`, such as `reduction`.

    Call arguments:
        y_true: Data of shape `(batch, ..., channels)`.
        y_pred: Medians of the same shape, followed on the last axis by log b if `scale` is `None`.

    Raises:
        ValueError: If `scale` or `min_scale` is not above 0.

    Example:
        >>> import numpy as np, keras_vq
        >>> loss = keras_vq.losses.LaplaceNegativeLogLikelihood(scale=1.0)
        >>> float(loss(np.zeros((2, 4)), np.zeros((2, 4)))) / 4  # log 2 per value
        0.69314...
    """

    def __init__(
        self,
        scale: float | None = None,
        min_scale: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        self.scale = None if scale is None else _validation.check_positive("scale", scale)
        self.min_scale = _validation.check_positive("min_scale", min_scale)
        super().__init__(self.scale, self.min_scale, **kwargs)

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        median, log_scale = self._location_and_log_scale(y_pred)
        return ops.abs(y_true - median) * ops.exp(-log_scale) + log_scale + math.log(2.0)


@keras.saving.register_keras_serializable("keras_vq")
class DiscretizedLogisticNegativeLogLikelihood(_LocationScaleLikelihood):
    """Negative log-likelihood of quantized values by a logistic distribution.

    The probability of a value is the mass of the logistic distribution with mean μ and scale s
    between the midpoints to its neighbors; the least and the greatest value get the tails. Data
    are in [0, 1] with `num_values` equally spaced values, such as 8-bit pixels divided by 255.
    Source: Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016,
    appendix C.

    Args:
        scale: Float or `None`. Fixed scale s; `None` if the decoder returns log s after the means.
            Defaults to `None`.
        num_values: Integer, at least 2. Number of values. Defaults to 256.
        min_scale: Float above 0. Added to a predicted s, as its lower bound. Defaults to 0.0001.
        reduction: String. Keras reduction over the batch. Defaults to `"sum_over_batch_size"`, the
            mean over examples.
        name: String. Name of the loss. Defaults to
            `"discretized_logistic_negative_log_likelihood"`.
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: Data in [0, 1] of shape `(batch, ..., channels)`, rounded to the nearest of the
            values.
        y_pred: Means of the same shape, followed on the last axis by log s if `scale` is `None`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np, keras_vq
        >>> loss = keras_vq.losses.DiscretizedLogisticNegativeLogLikelihood(num_values=2)
        >>> wide = np.full((1, 2), [0.5, 9.0])  # mean, log s: both values are equally likely
        >>> float(loss(np.ones((1, 1)), wide))
        0.6931...
    """

    is_discrete = True

    def __init__(
        self,
        scale: float | None = None,
        num_values: int = 256,
        min_scale: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        self.scale = None if scale is None else _validation.check_positive("scale", scale)
        self.num_values = _checked_count(num_values)
        self.min_scale = _validation.check_positive("min_scale", min_scale)
        super().__init__(self.scale, self.min_scale, **kwargs)

    @property
    def value_range(self) -> tuple[float, float]:
        """Least and greatest value that has a likelihood."""
        return 0.0, 1.0

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        mean, log_scale = self._location_and_log_scale(y_pred)
        greatest = self.num_values - 1
        index = ops.round(y_true * greatest)
        residual = index / greatest - mean
        per_scale = ops.exp(-log_scale)
        above = (residual + 0.5 / greatest) * per_scale
        below = (residual - 0.5 / greatest) * per_scale
        # log(σ(a) - σ(b)) = log σ(a) + log σ(-b) + log(1 - exp(b - a)), which does not cancel.
        width = per_scale / greatest
        inside = ops.log_sigmoid(above) + ops.log_sigmoid(-below) + ops.log(-ops.expm1(-width))
        log_p = ops.where(index <= 0, ops.log_sigmoid(above), inside)
        return -ops.where(index >= greatest, ops.log_sigmoid(-below), log_p)

    def expected_value(self, y_pred: Tensor) -> Tensor:
        """Computes the mean μ of the logistic distribution, clipped to [0, 1]."""
        return ops.clip(super().expected_value(y_pred), 0.0, 1.0)


@keras.saving.register_keras_serializable("keras_vq")
class CategoricalNegativeLogLikelihood(NegativeLogLikelihood):
    """Negative log-likelihood of quantized values by a softmax over all values.

    The decoder returns one logit for each value that an observation may have: the logits of the
    first channel of the data come first. Data are in [0, 1] with `num_values` equally spaced
    values, such as 8-bit pixels divided by 255. Source: van den Oord et al., "Pixel Recurrent
    Neural Networks", 2016, section 3.2.

    Args:
        num_values: Integer, at least 2. Number of values. Defaults to 256.
        **kwargs: Arguments of `keras.losses.Loss`, such as `reduction`.

    Call arguments:
        y_true: Data in [0, 1] of shape `(batch, ..., channels)`, rounded to the nearest of the
            values.
        y_pred: Logits of shape `(batch, ..., channels * num_values)`.

    Raises:
        ValueError: If `num_values` is not an integer of at least 2.

    Example:
        >>> import numpy as np, keras_vq
        >>> loss = keras_vq.losses.CategoricalNegativeLogLikelihood(num_values=4)
        >>> float(loss(np.ones((1, 1)), np.zeros((1, 4))))  # log 4
        1.38629...
    """

    is_discrete = True

    def __init__(
        self,
        num_values: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_values = _checked_count(num_values)

    @property
    def parameters_per_value(self) -> int:
        """Number of decoder outputs for each value of the data: its logits."""
        return self.num_values

    @property
    def value_range(self) -> tuple[float, float]:
        """Least and greatest value that has a likelihood."""
        return 0.0, 1.0

    def _nats(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        logits = self._logits(y_pred)
        index = ops.cast(ops.round(y_true * (self.num_values - 1)), "int32")
        chosen = ops.take_along_axis(logits, index[..., None], axis=-1)[..., 0]
        return ops.logsumexp(logits, axis=-1) - chosen

    def expected_value(self, y_pred: Tensor) -> Tensor:
        """Computes the expected value of each observation under the softmax."""
        values = np.linspace(0.0, 1.0, self.num_values, dtype="float32")
        return ops.sum(ops.multiply(ops.softmax(self._logits(y_pred)), values), axis=-1)

    def _logits(self, y_pred: Tensor) -> Tensor:
        """Returns the logits with an axis of their own: shape `(..., channels, num_values)`."""
        shape = ops.shape(y_pred)
        return ops.reshape(y_pred, (*shape[:-1], shape[-1] // self.num_values, self.num_values))


def _checked_count(num_values: Any) -> int:
    if _validation.check_positive_integer("num_values", num_values) < 2:
        raise ValueError(f"`num_values` must be an integer of at least 2. Received: {num_values}")
    return int(num_values)
