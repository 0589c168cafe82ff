"""Adversarial losses of a generator and a discriminator."""

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._configurable import Configurable
from keras_vq._types import Tensor


class AdversarialLoss(Configurable):
    """Base class of adversarial losses: one loss for the generator, one for the discriminator.

    A subclass implements `generator` and `discriminator`. Both are functions of the logits of a
    discriminator D, which are high for images that D classifies as real.

    Example:
        >>> import numpy as np, keras_vq
        >>> from keras import ops
        >>> class LeastSquares(keras_vq.losses.AdversarialLoss):
        ...     def generator(self, fake):
        ...         return ops.mean((1.0 - fake) ** 2)
        ...
        ...     def discriminator(self, real, fake):
        ...         return (ops.mean((1.0 - real) ** 2) + ops.mean(fake**2)) / 2
        >>> float(LeastSquares().discriminator(np.ones(3), np.ones(3)))
        0.5
    """

    def generator(self, fake: Tensor) -> Tensor:
        """Computes the loss of the generator.

        Args:
            fake: Float tensor of any shape. Logits D(x̂) of generated images.

        Returns:
            Scalar.
        """
        raise NotImplementedError

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Computes the loss of the discriminator.

        Args:
            real: Float tensor of any shape. Logits D(x) of real images.
            fake: Float tensor of any shape. Logits D(x̂) of generated images.

        Returns:
            Scalar.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_vq")
class HingeAdversarialLoss(AdversarialLoss):
    """Hinge loss of a generator and a discriminator.

        generator     = -mean D(x̂)
        discriminator = (mean max(0, 1 - D(x)) + mean max(0, 1 + D(x̂))) / 2

    Sources: Lim and Ye, "Geometric GAN", 2017; the factor 1/2 is that of the code of Esser et al.,
    "Taming Transformers for High-Resolution Image Synthesis", 2021.

    Example:
        >>> import numpy as np, keras_vq
        >>> loss = keras_vq.losses.HingeAdversarialLoss()
        >>> real, fake = np.array([2.0, 0.0]), np.array([-1.0, 2.0])
        >>> float(loss.generator(fake)), float(loss.discriminator(real, fake))
        (-0.5, 1.0)
    """

    def generator(self, fake: Tensor) -> Tensor:
        """Computes the loss of the generator, a scalar."""
        return -ops.mean(fake)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Computes the loss of the discriminator, a scalar."""
        return 0.5 * (ops.mean(ops.relu(1.0 - real)) + ops.mean(ops.relu(1.0 + fake)))


@keras.saving.register_keras_serializable("keras_vq")
class NonSaturatingAdversarialLoss(AdversarialLoss):
    """Non-saturating loss: the binary cross-entropy of the discriminator logits.

        generator     = -mean log σ(D(x̂))
        discriminator = -(mean log σ(D(x)) + mean log(1 - σ(D(x̂)))) / 2

    Source: Goodfellow et al., "Generative Adversarial Networks", 2014, section 3.

    Example:
        >>> import numpy as np, keras_vq
        >>> loss = keras_vq.losses.NonSaturatingAdversarialLoss()
        >>> undecided = np.zeros(3)
        >>> float(loss.discriminator(undecided, undecided))  # log 2
        0.69314...
    """

    def generator(self, fake: Tensor) -> Tensor:
        """Computes the loss of the generator, a scalar."""
        return ops.mean(ops.softplus(-fake))

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Computes the loss of the discriminator, a scalar."""
        return 0.5 * (ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake)))


_BY_NAME = {"hinge": HingeAdversarialLoss, "non_saturating": NonSaturatingAdversarialLoss}


def as_adversarial_loss(loss: str | AdversarialLoss) -> AdversarialLoss:
    """Returns the loss with a name, `"hinge"` or `"non_saturating"`, or a loss object as it is."""
    if isinstance(loss, AdversarialLoss):
        return loss
    return _BY_NAME[_validation.check_choice("adversarial_loss", loss, tuple(_BY_NAME))]()
