"""Gumbel-softmax quantizer of the discrete VAE (dVAE)."""

import math
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.quantizers.base import Assignment, Quantizer

# Lower bound of uniform samples, which keeps their logarithm finite.
_TINY = 1e-20


def _check_temperature(name: str, value: Any) -> float:
    del name
    return _validation.check_positive("temperature", value)


@keras.saving.register_keras_serializable("keras_vq")
class GumbelSoftmaxQuantizer(Quantizer):
    """Gumbel-softmax quantizer of the discrete VAE (dVAE).

    With logits l = x W + b, Gumbel noise g, temperature τ and K code vectors, the rows of E:

        in training   y = softmax((l + g) / τ) E
        in inference  y = e_k, k = argmax l

    In training the codes are the argmax of l + g, and the quantized vectors are mixtures of code
    vectors unless `hard`; y has gradients with respect to W, b, E and the inputs. In inference y
    has a gradient with respect to E only.

    The added loss is w · mean over vectors of Σ p log(p K) for p = softmax(l): the KL divergence
    of p from the uniform distribution.

    Sources: Ramesh et al., "Zero-Shot Text-to-Image Generation" (DALL·E), 2021, section 2.1;
    Jang et al., "Categorical Reparameterization with Gumbel-Softmax", 2017. DALL·E anneals τ
    from 1 to 1/16. The default of w, and its use with a mean, follow the library
    taming-transformers.

    Training updates `embeddings` and the logits layer (by the optimizer), and `step` if the
    temperature follows a schedule.

    Args:
        codebook_size: Integer. Number of code vectors, K.
        temperature: Float, above 0, or a `keras.optimizers.schedules.LearningRateSchedule` of the
            training step. Temperature τ of the Gumbel-softmax. Defaults to 1.0.
        kl_weight: Float, at least 0. Weight w of the KL divergence. Defaults to 5e-4.
        hard: Boolean. Whether training returns the sampled code vector with the gradient of the
            mixture (straight-through Gumbel-softmax). Defaults to `False`.
        seed: Integer. Seed of the Gumbel noise. Defaults to `None`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras, keras_vq, numpy as np
        >>> temperature = keras.optimizers.schedules.CosineDecay(1.0, 150_000, alpha=1 / 16)
        >>> quantizer = keras_vq.GumbelSoftmaxQuantizer(512, temperature=temperature)
        >>> quantized, codes = quantizer(np.zeros((2, 7, 7, 16), "float32"))
        >>> tuple(quantized.shape), tuple(codes.shape)
        ((2, 7, 7, 16), (2, 7, 7))
    """

    _hint_without_estimator = (
        "The gradient is that of the Gumbel-softmax mixture. Remove the argument."
    )
    constant_temperature = Hyperparameter(_check_temperature)
    kl_weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        codebook_size: int,
        temperature: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        kl_weight: float = 5e-4,
        hard: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        size = _validation.check_positive_integer("codebook_size", codebook_size)
        is_schedule = isinstance(temperature, keras.optimizers.schedules.LearningRateSchedule)
        self.temperature_schedule: Any = temperature if is_schedule else None
        self.constant_temperature = 1.0 if is_schedule else temperature
        self.kl_weight = kl_weight
        self.hard = bool(hard)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # Float32, because the largest logits may tie in half precision.
        self.logits = keras.layers.Dense(size, name="logits", dtype="float32")

    def build(self, input_shape: Shape) -> None:
        """Creates the code vectors and the logits layer for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        self.logits.build(input_shape)
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.logits.units, self.dim),
            initializer=keras.initializers.VarianceScaling(mode="fan_out", distribution="uniform"),
            dtype="float32",
            autocast=False,
        )
        if self.temperature_schedule is not None:
            self.step = self.add_weight(
                name="step", shape=(), initializer="zeros", dtype="int32", trainable=False
            )

    @property
    def temperature(self) -> Any:
        """Temperature τ: a number, which may be assigned during training, or the schedule."""
        schedule = self.temperature_schedule
        return self.constant_temperature if schedule is None else schedule

    @temperature.setter
    def temperature(self, value: float) -> None:
        if self.temperature_schedule is not None:
            raise AttributeError(
                "`temperature` must not be assigned if it follows a schedule. "
                f"Received: {value!r}. Construct the quantizer with a number."
            )
        self.constant_temperature = value

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size K, as a tuple with one entry."""
        return (self.logits.units,)

    def _project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Computes the logits."""
        del training
        return self.logits(vectors)

    def _search_codes(self, latents: Tensor, training: bool = False) -> Tensor:
        """Returns the argmax of the logits. Ties go to the lowest code."""
        del training
        return vq_ops.argmax(latents)

    def _search(self, latents: Tensor, training: bool = False, **context: Any) -> Assignment:
        """Returns quantized vectors and codes: Gumbel-softmax samples in training, else the argmax.

        The samples are mixtures of code vectors, or single code vectors if `hard`.
        """
        if not training:
            return super()._search(latents, **context)
        uniforms = keras.random.uniform(ops.shape(latents), _TINY, seed=self.seed_generator)
        noisy = latents - ops.log(-ops.log(uniforms))
        codes = self._search_codes(noisy)
        shares = ops.softmax(noisy / self._temperature(), axis=-1)
        if self.hard:
            quantized = code_with_gradient_of_shares(codes, shares, self.embeddings)
        else:
            quantized = ops.matmul(shares, self.embeddings)
        return Assignment(latents, quantized, codes)

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the code vectors of codes."""
        return ops.take(ops.convert_to_tensor(self.embeddings), codes, axis=0)

    def _auxiliary_loss(self, assignment: Assignment) -> Tensor:
        """Computes the weighted KL divergence of the softmax of the logits from uniform."""
        log_p = ops.log_softmax(assignment.latents, axis=-1)
        divergences = ops.sum(ops.exp(log_p) * log_p, axis=-1) + math.log(self.logits.units)
        return self.kl_weight * vq_ops.masked_mean(divergences, assignment.mask)

    def _statistics(self, assignment: Assignment) -> "_Step | None":
        """Returns a marker of the training step if the temperature follows a schedule."""
        del assignment
        return None if self.temperature_schedule is None else _Step()

    def _update(self, statistics: "_Step") -> None:
        """Increments the step counter of the temperature schedule."""
        del statistics
        self.step.assign(self.step + 1)

    def _estimate(self, latents: Tensor, quantized: Any, training: bool = False) -> Tensor:
        """Returns the quantized vectors unchanged: Gumbel-softmax provides their gradient."""
        del latents, training
        return self._project_out(quantized)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors; see `Quantizer.set_embeddings`."""
        self._set_own_embeddings(embeddings)

    def _temperature(self) -> Any:
        if self.temperature_schedule is None:
            return self.constant_temperature
        return ops.cast(self.temperature_schedule(ops.convert_to_tensor(self.step)), "float32")


class _Step:
    """Marker of one training step, the same for any number of uses of the quantizer."""

    def merged(self, other: "_Step") -> "_Step":
        del other
        return self


def code_with_gradient_of_shares(codes: Tensor, shares: Tensor, embeddings: Any) -> Tensor:
    """Returns code vectors with the gradient of (onehot + p - sg(p)) E for probabilities p.

    Args:
        codes: Int32 tensor of codes of shape `(...)`.
        shares: Float32 tensor of probabilities p of shape `(..., codebook_size)`.
        embeddings: Float32 tensor of code vectors E of shape `(codebook_size, dim)`.

    Returns:
        Float32 tensor of shape `(..., dim)`, equal to rows of E bit for bit.
    """
    embeddings = ops.convert_to_tensor(embeddings)
    # (p - sg(p)) is 0, so E gets no gradient from this product, except through p.
    mixture = ops.matmul(shares, ops.stop_gradient(embeddings))
    return ops.take(embeddings, codes, axis=0) + (mixture - ops.stop_gradient(mixture))
