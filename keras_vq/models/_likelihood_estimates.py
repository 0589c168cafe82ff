"""Estimates of the log-likelihood of a VAE: evidence lower bound and importance weighting."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._inputs import inputs_of, is_data_set, to_numpy
from keras_vq._types import Tensor
from keras_vq.losses.likelihoods import NegativeLogLikelihood
from keras_vq.models.base import ReconstructionModel

# Number of compiled calls without a progress bar.
_CALLS_WITHOUT_BAR = 100


class LikelihoodEstimates(ReconstructionModel):
    """Base class of models with a Gaussian posterior q(z|x) and a likelihood p(x|z).

    A subclass implements `_posterior_batch`.
    """

    likelihood: NegativeLogLikelihood

    def elbo(
        self, inputs: Any, samples: int = 1, seed: int | None = None, batch_size: int = 1024
    ) -> np.ndarray:
        """Estimates the evidence lower bound E log p(x|z) - KL(q(z|x) ‖ p(z)) of each input.

        The KL divergence is exact, and the expectation is a mean over samples. `beta` and
        `free_bits` have no influence.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            samples: Integer. Number of samples from the posterior of each input. Defaults to 1.
            seed: Integer or `None`. Random seed; the same seed gives the same noise on every
                backend and for every batch size. Defaults to `None`.
            batch_size: Integer. Number of samples that are decoded at once. Defaults to 1024.

        Returns:
            Float64 array of shape `(n,)`, in nats.

        Raises:
            ValueError: If the model is not built, or an argument is invalid.
        """
        made = self._sampled(inputs, samples, seed, batch_size)
        return np.concatenate([part["log_p"].mean(axis=1) - part["kl"] for part in made])

    def log_likelihood(
        self, inputs: Any, samples: int = 1000, seed: int | None = None, batch_size: int = 1024
    ) -> np.ndarray:
        """Estimates log p(x) of each input by importance weighting with the posterior.

        The estimate log (1/k) Σ p(x|z) p(z) / q(z|x) over k samples z from q(z|x) is a lower bound
        in expectation, which becomes tight as k grows. Papers report it with 5,000 samples. Source:
        Burda et al., "Importance Weighted Autoencoders", 2016, equation 8.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            samples: Integer. Number of samples k for each input. Defaults to 1000.
            seed: Integer or `None`. Random seed; the same seed gives the same noise on every
                backend and for every batch size. Defaults to `None`.
            batch_size: Integer. Number of samples that are decoded at once. Defaults to 1024.

        Returns:
            Float64 array of shape `(n,)`, in nats.

        Raises:
            ValueError: If the model is not built, or an argument is invalid.
        """
        made = self._sampled(inputs, samples, seed, batch_size)
        return np.concatenate(
            [np.logaddexp.reduce(part["log_weight"], axis=1) - math.log(samples) for part in made]
        )

    def bits_per_dimension(
        self, inputs: Any, samples: int = 1000, seed: int | None = None, batch_size: int = 1024
    ) -> float:
        """Computes the mean of -log₂ p(x) / D over inputs with D values each.

        Args:
            inputs: See `log_likelihood`.
            samples: See `log_likelihood`.
            seed: See `log_likelihood`.
            batch_size: See `log_likelihood`.

        Raises:
            ValueError: If the likelihood is a density, whose logarithm is not a number of bits, or
                an argument is invalid.
        """
        if not self.likelihood.is_discrete:
            raise ValueError(
                "Bits per dimension require a likelihood of discrete values, such as "
                "`DiscretizedLogisticNegativeLogLikelihood`. Received: "
                f"{type(self.likelihood).__name__}, a density"
            )
        nats = self.log_likelihood(inputs, samples, seed, batch_size)
        dimensions = math.prod(size or 1 for size in self.reconstruction_shape or ())
        return float(-nats.mean() / math.log(2.0) / dimensions)

    def _posterior_batch(self, inputs: Tensor) -> Tensor:
        """Returns the means and log-variances of a batch, concatenated on the last axis."""
        raise NotImplementedError

    def _sampled(
        self, inputs: Any, samples: int, seed: int | None, batch_size: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields log p(x|z) and log importance weights of samples z, for groups of inputs.

        Yields:
            Dictionaries of float64 arrays: `log_p` and `log_weight` of shape `(rows, samples)`, and
            `kl` of shape `(rows,)`.
        """
        _validation.check_positive_integer("samples", samples)
        _validation.check_positive_integer("batch_size", batch_size)
        self._check_built()
        # Equal calls, of which the last draws few samples that are not needed.
        calls = math.ceil(samples / batch_size)
        per_call = math.ceil(samples / calls)
        rows = max(1, batch_size // per_call)
        seeds = np.random.SeedSequence(seed)
        for group in self._groups(inputs, rows, calls):
            # One compiled shape: the last group is filled up with copies of its last input.
            padded = np.concatenate([group, np.repeat(group[-1:], rows - len(group), axis=0)])
            posterior = self._apply_to_batch(self._posterior_batch, padded)
            mean, log_variance = np.split(posterior, 2, axis=-1)
            streams = [np.random.default_rng(each) for each in seeds.spawn(rows)]
            parts = []
            for _ in range(calls):
                shape = (per_call, *mean.shape[1:])
                noise = np.stack([stream.standard_normal(shape, "float32") for stream in streams])
                given = {"inputs": padded, "posterior": posterior, "noise": noise}
                parts.append(self._apply_to_batch(self._sample_batch, given, samples=per_call))
            kl = ops.convert_to_numpy(
                kl_divergence(*map(ops.convert_to_tensor, (mean, log_variance)))
            )
            joined = {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}
            yield {
                name: values[: len(group), :samples].astype("float64")
                for name, values in joined.items()
            } | {"kl": kl[: len(group)].reshape(len(group), -1).sum(axis=1, dtype="float64")}

    def _sample_batch(self, given: dict[str, Tensor], samples: int) -> dict[str, Tensor]:
        """Computes log p(x|z) and log p(x|z) p(z) / q(z|x). Shape `(rows, samples)`."""
        mean, log_variance = ops.split(given["posterior"][:, None], 2, axis=-1)
        noise = given["noise"]
        z = mean + ops.exp(0.5 * log_variance) * noise
        merged = ops.reshape(z, (-1, *ops.shape(z)[2:]))
        parameters = self.decoder(merged, training=False)
        x = ops.repeat(given["inputs"], samples, axis=0)
        log_p = -ops.reshape(self.likelihood.call(x, parameters), (-1, samples))
        ratio = log_prior_ratio(z, noise, log_variance)
        return {"log_p": log_p, "log_weight": log_p + ratio}

    def _groups(self, inputs: Any, rows: int, calls: int) -> Iterator[np.ndarray]:
        """Yields groups of at most `rows` inputs, with a progress bar if there are many calls."""
        if is_data_set(inputs):
            batches, count = inputs_of(inputs, rows, "inputs"), None
        else:
            batches, count = iter([to_numpy(inputs, "inputs")]), len(inputs)
        has_bar = count is None or math.ceil(count / rows) * calls > _CALLS_WITHOUT_BAR
        bar = keras.utils.Progbar(count, unit_name="input") if has_bar else None
        for batch in batches:
            batch = self._checked_inputs(batch, "inputs", is_batch=count is None)
            for start in range(0, len(batch), rows):
                group = batch[start : start + rows]
                yield group
                if bar is not None:
                    bar.add(len(group))


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Computes KL(N(μ, σ²) ‖ N(0, 1)) of each latent."""
    return 0.5 * (ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance)


def log_prior_ratio(z: Tensor, noise: Tensor, log_variance: Tensor) -> Tensor:
    """Computes log p(z) / q(z|x) of samples z = μ + σ · noise. Shape `(rows, samples)`."""
    per_latent = 0.5 * (ops.square(noise) - ops.square(z) + log_variance)
    return ops.sum(per_latent, axis=tuple(range(2, len(z.shape))))
