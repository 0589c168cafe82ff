"""The quantizer of the discrete VAE: codes drawn by Gumbel-softmax."""

import math
from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.quantizers.base import Quantizer

# Keeps the logarithm of a uniform number finite.
_TINY = 1e-20


def _check_temperature(name: str, value: Any) -> float:
    del name
    return _validation.check_positive("temperature", value)


@keras.saving.register_keras_serializable("keras_vq")
class CategoricalQuantizer(Quantizer):
    """Takes vectors to logits over codes, and in training mixes codes by Gumbel-softmax.

    With logits l = x W + b, Gumbel noise g, temperature τ and codes E (K of them):

        in training  y = softmax((l + g) / τ) E
        otherwise    y = e_k, k = argmax l

    The added loss is w · mean over vectors of Σ p log(p K) for p = softmax(l), the divergence of
    p from the uniform distribution. y has a gradient for W, b, E and the inputs in training; in
    inference only E has one, and the loss. Indices in training are the argmax of l + g, and the
    quantized vectors are mixtures, not codes, unless `hard`.

    Sources: Ramesh et al., "Zero-Shot Text-to-Image Generation" (DALL·E), 2021, section 2.1;
    Jang et al., "Categorical Reparameterization with Gumbel-Softmax", 2017. DALL·E anneals τ
    from 1 to 1/16; w multiplies a mean, as in the library taming-transformers, whose default it
    is.

    State that changes in training: `embeddings` and the logits' layer (by the optimizer), and
    `step` if the temperature follows a schedule.

    Args:
        codebook_size: Number of codes, K.
        temperature: τ, above 0: a number, or a `keras.optimizers.schedules.LearningRateSchedule`
            of the training step.
        kl: w, weight of the divergence, at least 0.
        hard: Whether training gives the drawn code itself, with the gradient of the mixture.
        seed: Seed of the noise.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras, keras_vq, numpy as np
        >>> temperature = keras.optimizers.schedules.CosineDecay(1.0, 150_000, alpha=1 / 16)
        >>> quantizer = keras_vq.CategoricalQuantizer(512, temperature=temperature)
        >>> quantized, indices = quantizer(np.zeros((2, 7, 7, 16), "float32"))
        >>> tuple(quantized.shape), tuple(indices.shape)
        ((2, 7, 7, 16), (2, 7, 7))
    """

    hint_without_estimator = (
        "Its gradient is that of the Gumbel-softmax mixture: remove the argument."
    )
    constant_temperature = Hyperparameter(_check_temperature)
    kl = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        codebook_size: int,
        temperature: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        kl: float = 5e-4,
        hard: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        size = _validation.check_positive_integer("codebook_size", codebook_size)
        is_schedule = isinstance(temperature, keras.optimizers.schedules.LearningRateSchedule)
        self.temperature_schedule: Any = temperature if is_schedule else None
        self.constant_temperature = 1.0 if is_schedule else temperature
        self.kl = kl
        self.hard = bool(hard)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # In half precision the largest logits would tie.
        self.logits = keras.layers.Dense(size, name="logits", dtype="float32")

    def build(self, input_shape: Shape) -> None:
        """Creates the codes and the logits' layer for vectors of shape `(..., dim)`."""
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
        """τ: a number, which may be assigned during training, or the schedule."""
        schedule = self.temperature_schedule
        return self.constant_temperature if schedule is None else schedule

    @temperature.setter
    def temperature(self, value: float) -> None:
        if self.temperature_schedule is not None:
            raise AttributeError(
                "`temperature` must not be assigned where it follows a schedule. "
                f"Received: {value!r}. Construct the quantizer with a number."
            )
        self.constant_temperature = value

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The number of codes, K."""
        return (self.logits.units,)

    def project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """The logits."""
        del training
        return self.logits(vectors)

    def find_indices(self, latents: Tensor, training: bool = False) -> Tensor:
        """The index of the largest logit; the lowest wins a tie."""
        del training
        return vq_ops.first_maximum(latents)

    def find_codes(
        self, latents: Tensor, training: bool = False, **context: Any
    ) -> tuple[Tensor, Tensor]:
        """In training mixtures of codes and drawn indices; else the likeliest codes."""
        if not training:
            return super().find_codes(latents, **context)
        uniforms = keras.random.uniform(ops.shape(latents), _TINY, seed=self.seed_generator)
        noisy = latents - ops.log(-ops.log(uniforms))
        indices = self.find_indices(noisy)
        shares = ops.softmax(noisy / self._temperature(), axis=-1)
        if self.hard:
            return code_with_gradient_of_shares(indices, shares, self.embeddings), indices
        return ops.matmul(shares, self.embeddings), indices

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of indices."""
        return ops.take(ops.convert_to_tensor(self.embeddings), indices, axis=0)

    def auxiliary_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor:
        """The divergence of the logits' distribution from the uniform one."""
        del codes, indices
        log_p = ops.log_softmax(latents, axis=-1)
        divergences = ops.sum(ops.exp(log_p) * log_p, axis=-1) + math.log(self.logits.units)
        return self.kl * vq_ops.masked_mean(divergences, mask)

    def statistics(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> "_Step | None":
        """That a training step was made, if the temperature follows a schedule."""
        del latents, codes, indices, mask
        return None if self.temperature_schedule is None else _Step()

    def learn(self, statistics: "_Step") -> None:
        """Counts the step."""
        del statistics
        self.step.assign(self.step + 1)

    def estimate(self, latents: Tensor, codes: Any, training: bool = False) -> Tensor:
        """The codes: they have the gradient already."""
        del latents, training
        return self.project_out(codes)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors; see `Quantizer.set_embeddings`."""
        self._set_own_embeddings(embeddings)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "codebook_size": self.logits.units,
            "temperature": keras.saving.serialize_keras_object(self.temperature),
            "kl": self.kl,
            "hard": self.hard,
            "seed": self.seed,
        }

    def _temperature(self) -> Any:
        if self.temperature_schedule is None:
            return self.constant_temperature
        return ops.cast(self.temperature_schedule(ops.convert_to_tensor(self.step)), "float32")


class _Step:
    """A training step, however often the quantizer served in it."""

    def merged(self, other: "_Step") -> "_Step":
        del other
        return self


def code_with_gradient_of_shares(indices: Tensor, shares: Tensor, codes: Any) -> Tensor:
    """The codes of indices, with the gradient of (onehot + p - sg(p)) E for shares p.

    Args:
        indices: Int32 tensor of shape `(...)`.
        shares: Float32 tensor of shape `(..., codebook_size)`.
        codes: Float32 tensor of shape `(codebook_size, dim)`, E.

    Returns:
        Float32 tensor of shape `(..., dim)`: codes to the bit, which the product would round.
    """
    codes = ops.convert_to_tensor(codes)
    # The shares' own part adds nothing, so codes learn only by their own index and by what the
    # shares depend on.
    mixture = ops.matmul(shares, ops.stop_gradient(codes))
    return ops.take(codes, indices, axis=0) + (mixture - ops.stop_gradient(mixture))
