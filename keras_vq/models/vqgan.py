"""The VQ-VAE whose reconstructions a discriminator judges."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_vq import _backend, _validation
from keras_vq._building import build_part
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.models._adversarial_optimizer import AdversarialOptimizer
from keras_vq.models._frozen import frozen
from keras_vq.models.base import check_layer
from keras_vq.models.vqvae import VQVAE
from keras_vq.quantizers.base import Quantizer

_GREATEST_WEIGHT = 1e4
_SMALLEST_NORM = 1e-4


@keras.saving.register_keras_serializable("keras_vq")
class VQGAN(VQVAE):
    """A `VQVAE` that also learns to make images that a discriminator takes for real ones.

    Encoder, quantizer and decoder, together the generator, minimize

        reconstruction + perceptual_weight * perceptual + quantization
            + discriminator_weight * λ * generator

    while the discriminator D minimizes a loss of its own, both in one step and at the same
    weights. With the hinge loss

        generator     = -mean D(x̂)
        discriminator = (mean max(0, 1 - D(x)) + mean max(0, 1 + D(x̂))) / 2

    λ is the adaptive weight |∇ (reconstruction + perceptual)| / (|∇ generator| + 10⁻⁴), at most
    10⁴, of gradients by the last kernel of the decoder: the two pull it equally. For the first
    `discriminator_start` steps the last term and D's loss count for nothing. Source: Esser et al.,
    "Taming Transformers for High-Resolution Image Synthesis", 2021, section 3.1.

    The reconstruction term is that of `VQVAE`, unless `compile` is given a loss (the authors' code
    has `loss="mae"`). The perceptual term compares feature maps: the vectors at each position are
    brought to length 1, and their squared distances averaged over positions and images, summed
    over maps. That is LPIPS (Zhang et al., 2018) without its learnt weights.

    The logs name each term (`reconstruction_loss`, `quantization_loss`, `generator_loss`,
    `discriminator_loss`, with a feature network `perceptual_loss`) and `adaptive_weight`, λ.
    `loss` is what the generator minimizes without the discriminator's verdict: it can be compared
    between epochs, as a game of two cannot.

    State that changes in training: `steps`, which counts them.

    Args:
        encoder: Layer or model: images -> latents of shape `(batch, ..., dim)`.
        quantizer: A `Quantizer` of vectors of that dimension.
        decoder: Layer or model: quantized latents -> images.
        discriminator: Layer or model: images -> logits of any shape, such as
            `keras_vq.networks.patch_discriminator`.
        feature_network: Model: images -> a feature map, or a list of them, channels last, for the
            perceptual term; with whatever it needs to take pixels in [0, 1]. It is frozen. None
            leaves the term out.
        perceptual_weight: Weight of the perceptual term.
        discriminator_weight: Weight of the generator's adversarial term, beside λ.
        discriminator_start: Training steps before the discriminator comes in.
        adversarial_loss: `"hinge"`; or `"non_saturating"` (Goodfellow et al., 2014), the
            cross-entropies of the discriminator's verdicts.
        data_variance: Variance of the target pixels, by which the default loss divides. None
            measures it on the first data with values that differ, of whichever method computes a
            loss, and keeps it with the weights.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, pixels in [0, 1].

    Returns:
        A dictionary: `reconstruction` (images), `codes`, as a `VQVAE` returns them, `latents` (the
        quantized ones).

    Raises:
        ValueError: If an argument is out of its range, or the decoder has no kernel.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQGAN(
        ...     encoder,
        ...     keras_vq.VectorQuantizer(16),
        ...     decoder,
        ...     keras_vq.networks.patch_discriminator((8, 8, 1), filters=(8, 16)),
        ... )
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> sorted(name for name in history.history if name.endswith("loss"))
        ['discriminator_loss', 'generator_loss', 'loss', 'quantization_loss',
         'reconstruction_loss']
        >>> model.encode_to_codes(images).shape
        (64, 2, 2)
    """

    part_names = ("encoder", "quantizer", "decoder", "discriminator", "feature_network")
    perceptual_weight = Hyperparameter(_validation.check_not_negative)
    discriminator_weight = Hyperparameter(_validation.check_not_negative)
    discriminator_start = Hyperparameter(_validation.check_count)

    def __init__(
        self,
        encoder: keras.Layer,
        quantizer: Quantizer,
        decoder: keras.Layer,
        discriminator: keras.Layer,
        feature_network: keras.Layer | None = None,
        perceptual_weight: float = 1.0,
        discriminator_weight: float = 1.0,
        discriminator_start: int = 0,
        adversarial_loss: str = "hinge",
        data_variance: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_layer("discriminator", discriminator)
        if feature_network is not None:
            check_layer("feature_network", feature_network).trainable = False
        _validation.check_choice("adversarial_loss", adversarial_loss, tuple(_ADVERSARIAL))
        super().__init__(encoder, quantizer, decoder, data_variance, **kwargs)
        self.discriminator = discriminator
        self.feature_network: Any = feature_network
        self.perceptual_weight = perceptual_weight
        self.discriminator_weight = discriminator_weight
        self.discriminator_start = discriminator_start
        self.adversarial_loss = adversarial_loss
        names = ["generator_loss", "discriminator_loss", "adaptive_weight"]
        names += ["perceptual_loss"] if feature_network is not None else []
        self.game_trackers = [keras.metrics.Mean(name=name) for name in names]
        self.build_if_known()

    def build_if_known(self) -> None:
        """Builds the model at once when it has all parts and the encoder knows its images."""
        # The constructor of the VQ-VAE asks for it before the discriminator is there.
        if hasattr(self, "discriminator"):
            super().build_if_known()

    def build_parts(self, input_shape: Shape) -> None:
        """Builds generator, discriminator and feature network for a batch of images."""
        super().build_parts(input_shape)
        if not self._kernels():
            raise ValueError(
                "The adaptive weight is of gradients by the decoder's last kernel: `decoder` must "
                f"have a layer with one. Received: {self.decoder!r}, without"
            )
        made = build_part(self.decoder, build_part(self.encoder, input_shape))
        build_part(self.discriminator, made)
        if self.feature_network is not None:
            self.feature_network(keras.KerasTensor(made))
        self.steps = self.add_weight(
            name="steps", initializer="zeros", trainable=False, dtype="float32", autocast=False
        )

    def compile(
        self, optimizer: Any = "adam", discriminator_optimizer: Any = None, **kwargs: Any
    ) -> None:
        """Configures training; takes what `keras.Model.compile` takes.

        Args:
            optimizer: Optimizer of the generator.
            discriminator_optimizer: Optimizer of the discriminator; None takes a second one with
                the settings of the first. The authors' code has Adam with `beta_1=0.5`,
                `beta_2=0.9` for both. They are then `model.optimizer.generator` and
                `model.optimizer.discriminator`; Keras's callbacks set the rates of both.
            **kwargs: `loss` (the reconstruction term), `metrics` and so on.

        Raises:
            ValueError: If both are one optimizer, or the precision is mixed_float16, in which the
                gradients that the adaptive weight compares vanish.
        """
        if self.compute_dtype == "float16":
            raise ValueError(
                "VQGAN compares the norms of gradients, which vanish in half precision: set the "
                "dtype policy to 'mixed_bfloat16' or 'float32'. "
                f"Received: {self.dtype_policy.name!r}"
            )
        generator = keras.optimizers.get(optimizer)
        if discriminator_optimizer is None:
            # A name of its own: callbacks log learning rates by it.
            config = {**generator.get_config(), "name": f"discriminator_{generator.name}"}
            discriminator_optimizer = type(generator).from_config(config)
        discriminator = keras.optimizers.get(discriminator_optimizer)
        if discriminator is generator:
            raise ValueError(
                "`discriminator_optimizer` must be an optimizer of its own, for it has a state; "
                f"None takes a second one like the first. Received: {generator!r} for both"
            )
        both = AdversarialOptimizer(
            generator, discriminator, lambda: self.discriminator.trainable_variables
        )
        super().compile(both, **kwargs)

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile`."""
        config = super().get_compile_config()
        if config:
            pair = self.optimizer.get_config()
            config["optimizer"] = pair["generator"]
            config["discriminator_optimizer"] = pair["discriminator"]
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as `get_compile_config` has it."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of images from their codes."""
        z = self.encoder(images, training=training)
        z_q, codes = self.quantizer(z, training=training, return_codes=True)
        x_hat = self.decoder(z_q, training=training)
        if training:
            self.steps.assign(self.steps + 1.0)
        return {"reconstruction": x_hat, "codes": codes, "latents": z_q}

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """The VQ-VAE's loss and the perceptual term, with the gradients of the game of two.

        One scalar serves both players. The discriminator's loss takes images as they are, without
        a gradient to what made them; the generator's takes the discriminator as it is, without a
        gradient to its weights. So each player's weights have the gradient of that player's own
        loss. The sum of the two losses says nothing, and is taken off again.
        """
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        target, made = x if y is None else y, y_pred["reconstruction"]
        generator_loss = self.generator_loss(made, training)
        discriminator_loss = self.discriminator_loss(target, made, training)
        weight = self.adaptive_weight(target, y_pred["latents"], sample_weight, training)
        perceptual_loss = self.perceptual_loss(target, made)
        terms = {
            "generator_loss": generator_loss,
            "discriminator_loss": discriminator_loss,
            "adaptive_weight": weight,
            "perceptual_loss": perceptual_loss,
        }
        for tracker in self.game_trackers:
            tracker.update_state(terms[tracker.name], sample_weight=ops.shape(x)[0])

        has_begun = ops.cast(
            ops.convert_to_tensor(self.steps) > self.discriminator_start, "float32"
        )
        game = has_begun * (
            self.discriminator_weight * weight * generator_loss + discriminator_loss
        )
        added = self.perceptual_weight * perceptual_loss + game - ops.stop_gradient(game)
        return loss + added / _backend.loss_replicas()

    def generator_loss(self, made: Tensor, training: bool = False) -> Tensor:
        """How little the discriminator, as it is, takes images for real ones: a scalar."""
        with frozen(self.discriminator):
            fake = self._logits(made, training)
        return _ADVERSARIAL[self.adversarial_loss].generator(fake)

    def discriminator_loss(self, real: Tensor, made: Tensor, training: bool = False) -> Tensor:
        """How badly the discriminator tells real images from made ones: a scalar."""
        real, fake = self._logits(real, training), self._logits(ops.stop_gradient(made), training)
        return _ADVERSARIAL[self.adversarial_loss].discriminator(real, fake)

    def _logits(self, images: Tensor, training: bool) -> Tensor:
        return ops.cast(self.discriminator(images, training=training), "float32")

    def perceptual_loss(self, target: Tensor, made: Tensor) -> Tensor:
        """Distance of the feature maps of two batches of images: a scalar; 0 without a network."""
        if self.feature_network is None:
            return ops.zeros(())
        pairs = zip(self._features(target), self._features(made), strict=True)
        return sum(ops.mean(ops.sum(ops.square(one - other), axis=-1)) for one, other in pairs)

    def _features(self, images: Tensor) -> list[Tensor]:
        maps = keras.tree.flatten(self.feature_network(images, training=False))
        return [_of_length_one(ops.cast(features, "float32")) for features in maps]

    def adaptive_weight(
        self,
        target: Tensor,
        latents: Tensor,
        sample_weight: Tensor | None = None,
        training: bool = False,
    ) -> Tensor:
        """How much stronger the likeness to the target pulls the last kernel than D does.

        Args:
            target: Images to make.
            latents: Quantized latents that the decoder makes them of.
            sample_weight: Weights of the images in the reconstruction term, or None.
            training: Whether the decoder is run as in training.

        Returns:
            A scalar in [0, 10⁴], without a gradient.
        """
        kernel = self._kernels()[-1]
        latents = ops.stop_gradient(latents)

        def likeness_and_verdict(value: Tensor) -> tuple[Tensor, Tensor]:
            with frozen(self.decoder, replaced=(kernel, value)):
                made = self.decoder(latents, training=training)
            likeness = self.reconstruction_loss(target, made, sample_weight)
            likeness = likeness + self.perceptual_weight * self.perceptual_loss(target, made)
            return likeness, self.generator_loss(made, training)

        by_likeness, by_verdict = (
            ops.norm(ops.reshape(gradient, (-1,)))
            for gradient in _backend.gradients(likeness_and_verdict, ops.convert_to_tensor(kernel))
        )
        return ops.minimum(by_likeness / (by_verdict + _SMALLEST_NORM), _GREATEST_WEIGHT)

    def _kernels(self) -> list[keras.Variable]:
        return [weight for weight in self.decoder.weights if len(weight.shape) > 1]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "perceptual_weight": self.perceptual_weight,
            "discriminator_weight": self.discriminator_weight,
            "discriminator_start": self.discriminator_start,
            "adversarial_loss": self.adversarial_loss,
        }


def _of_length_one(vectors: Tensor) -> Tensor:
    # Not `ops.normalize`, whose gradient is NaN at a vector of zeros, as ReLUs give them.
    return vectors * ops.rsqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True) + 1e-10)


class _AdversarialLoss(NamedTuple):
    """What the players minimize, of the discriminator's logits."""

    generator: Callable[[Tensor], Tensor]
    discriminator: Callable[[Tensor, Tensor], Tensor]


_ADVERSARIAL = {
    "hinge": _AdversarialLoss(
        lambda fake: -ops.mean(fake),
        lambda real, fake: 0.5 * (ops.mean(ops.relu(1.0 - real)) + ops.mean(ops.relu(1.0 + fake))),
    ),
    "non_saturating": _AdversarialLoss(
        lambda fake: ops.mean(ops.softplus(-fake)),
        lambda real, fake: 0.5 * (ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake))),
    ),
}
