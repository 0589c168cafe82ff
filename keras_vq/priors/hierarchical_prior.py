"""Prior over the codes of both scales of a VQ-VAE-2."""

from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np

from keras_vq._model import Model
from keras_vq.priors._codes import codes_of, encoded
from keras_vq.priors.base import CodePrior


@keras.saving.register_keras_serializable("keras_vq")
class HierarchicalPrior(Model):
    """Prior over VQ-VAE-2 codes, p(top codes) · p(bottom codes | top codes), from two priors.

    `VQVAE2.generate` takes it as `VQVAE.generate` takes a `CodePrior`. It is a `keras.Model` that
    is saved to one `.keras` file. `fit_codes` trains its two priors one after the other.

    Source: Razavi et al., "Generating Diverse High-Fidelity Images with VQ-VAE-2", 2019.

    Args:
        top: A `CodePrior` of the top codes.
        bottom: A `CodePrior` of the bottom codes, conditioned on the top codes.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Dictionary with `top` and `bottom`, each the output of `as_inputs` of its prior.

    Returns:
        Dictionary with `top` and `bottom`, each the output of its prior.

    Raises:
        ValueError: If `top` or `bottom` is not a `CodePrior`, or if `bottom` is not conditioned on
            the codes of `top`.

    Example:
        >>> from keras_vq.priors import PixelCNNPrior, TransformerPrior, HierarchicalPrior
        >>> top = TransformerPrior(16, (2, 2), hidden_dim=8, num_layers=1)
        >>> bottom = PixelCNNPrior(
        ...     16, (4, 4), hidden_dim=8, num_layers=1, condition_size=16, condition_shape=(2, 2)
        ... )
        >>> codes = HierarchicalPrior(top, bottom).generate(3, seed=0)
        >>> codes[0].shape, codes[1].shape
        ((3, 2, 2), (3, 4, 4))
    """

    def __init__(self, top: CodePrior, bottom: CodePrior, **kwargs: Any) -> None:
        for name, prior in (("top", top), ("bottom", bottom)):
            if not isinstance(prior, CodePrior):
                raise ValueError(f"`{name}` must be a CodePrior. Received: {prior!r}")
        if (bottom.condition_size, bottom.condition_shape) != (top.codebook_size, top.grid_shape):
            raise ValueError(
                "`bottom` must have the codes of `top` as its condition, with codebook size "
                f"{top.codebook_size} and grid {top.grid_shape}. Received: a prior with codebook "
                f"size {bottom.condition_size} and grid {bottom.condition_shape}"
            )
        super().__init__(**kwargs)
        self.top, self.bottom = top, bottom
        self.built = True

    @classmethod
    def for_model(
        cls,
        vqvae: Any,
        top: Callable[..., CodePrior],
        bottom: Callable[..., CodePrior],
        **options: Any,
    ) -> Self:
        """Creates the priors of both scales for a VQ-VAE-2.

        Args:
            vqvae: A built `VQVAE2`.
            top: Class of the prior of the top codes.
            bottom: Class of the prior of the bottom codes.
            **options: Constructor arguments of both classes, such as `num_classes`.
        """
        size, shape = codes_of(vqvae.top_quantizer, getattr(vqvae.code_shape, "top", None))
        below = codes_of(vqvae.bottom_quantizer, vqvae.code_shape.bottom)
        given = {"condition_size": size, "condition_shape": shape}
        return cls(top(size, shape, **options), bottom(*below, **given, **options))

    def fit_codes(
        self,
        vqvae: Any,
        inputs: Any,
        labels: Any = None,
        validation_data: Any = None,
        batch_size: int = 128,
        epochs: int = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Encodes inputs to codes once, then fits both priors to them.

        Args:
            vqvae: A trained `VQVAE2`.
            inputs: Array of shape `(n, height, width, channels)`, or a data set of such batches.
            labels: Integer array of shape `(n,)`, for priors with `num_classes`. None takes the
                labels of a data set of (inputs, labels) batches. Defaults to None.
            validation_data: Inputs, a tuple (inputs, labels), or a data set. Defaults to None.
            batch_size: Integer. Rows per training step. Defaults to 128.
            epochs: Integer. Number of epochs of each prior. Defaults to 1.
            **kwargs: Other arguments of `fit`.

        Returns:
            A `keras.callbacks.History` with the values of both priors, whose names start with
            `top_` and `bottom_`.
        """
        takes_labels = self.top.num_classes is not None
        validation = {}
        if validation_data is not None:
            pair = validation_data if isinstance(validation_data, tuple) else (validation_data,)
            validation = self._inputs(*encoded(vqvae, *pair, takes_labels=takes_labels))
        codes = self._inputs(*encoded(vqvae, inputs, labels, takes_labels=takes_labels))
        options = {"batch_size": batch_size, "epochs": epochs, **kwargs}
        history = keras.callbacks.History()
        for name, prior in (("top", self.top), ("bottom", self.bottom)):
            own = prior._fit_inputs(codes[name], validation.get(name), **options)
            history.epoch = own.epoch
            history.history.update({f"{name}_{key}": log for key, log in own.history.items()})
        return history

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Applies both priors to a batch."""
        return {
            name: prior(inputs[name], training=training)
            for name, prior in (("top", self.top), ("bottom", self.bottom))
        }

    def build(self, input_shape: Any = None) -> None:
        """Does nothing: the constructors of both priors build them."""
        del input_shape

    def _inputs(self, codes: Any, labels: Any = None) -> dict[str, Any]:
        top, bottom = _checked_pair(codes)
        return {
            "top": self.top.as_inputs(top, labels),
            "bottom": self.bottom.as_inputs(bottom, labels, condition=top),
        }

    def generate(
        self, n: int, labels: Any = None, seed: int | None = None, **options: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples pairs of top and bottom code grids.

        Args:
            n: Integer. Number of pairs.
            labels: See `CodePrior.generate`.
            seed: Integer. Seed of the samples. Defaults to None.
            **options: Other arguments of `CodePrior.generate`, for both priors.

        Returns:
            Tuple of the top codes and the bottom codes, int32 arrays.
        """
        # With one seed, both priors would share uniform numbers.
        seeds = np.random.SeedSequence(seed).generate_state(2).tolist()
        top = self.top.generate(n, labels, seed=seeds[0], **options)
        bottom = self.bottom.generate(n, labels, condition=top, seed=seeds[1], **options)
        return top, bottom

    def log_likelihood(self, codes: Any, labels: Any = None, batch_size: int = 128) -> np.ndarray:
        """Computes the log-likelihood of pairs of code grids, in nats per input.

        Args:
            codes: Tuple (top codes, bottom codes).
            labels: See `CodePrior.log_likelihood`.
            batch_size: Integer. Rows per batch. Defaults to 128.

        Returns:
            Float32 array of shape `(n,)`.
        """
        top, bottom = _checked_pair(codes)
        of_top = self.top.log_likelihood(top, labels, batch_size=batch_size)
        return of_top + self.bottom.log_likelihood(bottom, labels, top, batch_size)

    def bits_per_input(self, codes: Any, labels: Any = None) -> float:
        """Computes the mean bits per input of the codes of both scales.

        Args:
            codes: Tuple (top codes, bottom codes).
            labels: See `CodePrior.log_likelihood`.
        """
        top, bottom = _checked_pair(codes)
        of_top = self.top.bits_per_input(top, labels)
        return of_top + self.bottom.bits_per_input(bottom, labels, top)


def _checked_pair(codes: Any) -> tuple[Any, Any]:
    """Returns the top and bottom codes after checking that `codes` is a pair."""
    if not isinstance(codes, tuple | list) or len(codes) != 2:
        raise ValueError(
            "`codes` must be a pair of arrays (top, bottom), as returned by `encode` of a "
            f"VQVAE2. Received: {type(codes).__name__}"
        )
    return codes[0], codes[1]
