"""VQGAN: a VQ-VAE of images trained with an adversarial and a perceptual loss."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation, backend
from keras_vq._building import build_part
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.losses.adversarial import AdversarialLoss, as_adversarial_loss
from keras_vq.losses.perceptual import PerceptualLoss
from keras_vq.models._adversarial_optimizer import AdversarialOptimizer
from keras_vq.models._frozen import frozen
from keras_vq.models.base import check_layer
from keras_vq.models.vqvae import VQVAE
from keras_vq.quantizers.base import Quantizer

_GREATEST_WEIGHT = 1e4
_SMALLEST_NORM = 1e-4


@keras.saving.register_keras_serializable("keras_vq")
class VQGAN(VQVAE):
    """VQGAN: a `VQVAE` of images trained with an adversarial and a perceptual loss.

    The encoder, the quantizer and the decoder, together the generator, minimize

        reconstruction + perceptual_loss_weight * perceptual + quantization
            + adversarial_loss_weight * λ * generator

    while the discriminator minimizes its own loss, in the same step and at the same weights.
    `losses.HingeAdversarialLoss` and `losses.PerceptualLoss` define the terms. The adaptive weight
    λ is |∇ (reconstruction + perceptual)| / (|∇ generator| + 10⁻⁴), at most 10⁴. Both gradients are
    with respect to the last kernel of the decoder, where the two terms thus have equal gradient
    norms. In the first `discriminator_start` steps the adversarial term and the discriminator loss
    have weight 0. Source: Esser et al., "Taming Transformers for High-Resolution Image Synthesis",
    2021, section 3.1.

    The reconstruction term is that of `VQVAE`, unless `compile` receives a loss (the authors' code
    uses `loss="mae"`).

    Logs report each term (`reconstruction_loss`, `quantization_loss`, `generator_loss`,
    `discriminator_loss`, and `perceptual_loss` with a feature network) and λ as `adaptive_weight`.
    `loss` is the loss of the generator without the adversarial term, so that its values can be
    compared between epochs.

    State that changes in training: `steps`, the number of training steps.

    Args:
        encoder: Layer or model that maps inputs to latents of shape `(batch, ..., dim)`.
        quantizer: A `Quantizer` of vectors of that dimension.
        decoder: Layer or model that maps quantized latents to reconstructions.
        discriminator: Layer or model that maps inputs to logits of any shape, such as
            `keras_vq.networks.patch_discriminator`.
        feature_network: Network of `losses.PerceptualLoss`, which is frozen. Defaults to `None`,
            which omits the perceptual loss.
        perceptual_loss_weight: Float, at least 0. Weight of the perceptual loss. Defaults to 1.
        adversarial_loss_weight: Float, at least 0. Weight of the adversarial term, in addition to
            λ. Defaults to 1.
        discriminator_start: Integer. Number of training steps before the adversarial training
            starts. Defaults to 0.
        adversarial_loss: String or `losses.AdversarialLoss`. `"hinge"` and `"non_saturating"` are
            the names of the losses in `keras_vq.losses`. Defaults to `"hinge"`.
        data_variance: Float or `None`. Variance of the targets, by which the default loss is
            divided. If it is `None`, the variance is measured on the first data that are not
            constant, in `fit` or any other method that computes the loss, and saved with the
            weights. Defaults to `None`.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Float tensor of images of shape `(batch, height, width, channels)`.

    Returns:
        A dictionary with `reconstruction`, `codes` (as `VQVAE` returns them) and `latents`
        (quantized).

    Raises:
        ValueError: If an argument is out of range, or the decoder has no kernel.

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
        >>> model.encode(images).shape
        (64, 2, 2)
    """

    _part_names = ("encoder", "quantizer", "decoder", "discriminator", "feature_network")
    perceptual_loss_weight = Hyperparameter(_validation.check_not_negative)
    adversarial_loss_weight = Hyperparameter(_validation.check_not_negative)
    discriminator_start = Hyperparameter(_validation.check_count)

    def __init__(
        self,
        encoder: keras.Layer,
        quantizer: Quantizer,
        decoder: keras.Layer,
        discriminator: keras.Layer,
        feature_network: keras.Layer | None = None,
        perceptual_loss_weight: float = 1.0,
        adversarial_loss_weight: float = 1.0,
        discriminator_start: int = 0,
        adversarial_loss: str | AdversarialLoss = "hinge",
        data_variance: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_layer("discriminator", discriminator)
        perceptual = None if feature_network is None else PerceptualLoss(feature_network)
        adversarial_loss = as_adversarial_loss(adversarial_loss)
        super().__init__(encoder, quantizer, decoder, data_variance, **kwargs)
        self.discriminator = discriminator
        self.feature_network: Any = feature_network
        # The name sorts after `feature_network`, below which weight files store the network.
        self.perceptual = perceptual
        self.perceptual_loss_weight = perceptual_loss_weight
        self.adversarial_loss_weight = adversarial_loss_weight
        self.discriminator_start = discriminator_start
        self.adversarial_loss = adversarial_loss
        names = ["generator_loss", "discriminator_loss", "adaptive_weight"]
        names += ["perceptual_loss"] if feature_network is not None else []
        self.game_trackers = [keras.metrics.Mean(name=name) for name in names]
        self._build_if_known()

    def _build_if_known(self) -> None:
        """Builds the model if all parts are set and the encoder has an input shape."""
        # `VQVAE.__init__` calls this method before the discriminator is set.
        if hasattr(self, "discriminator"):
            super()._build_if_known()

    def _build_parts(self, input_shape: Shape) -> None:
        """Builds the generator, the discriminator and the feature network for batches of inputs."""
        super()._build_parts(input_shape)
        if not self._kernels():
            raise ValueError(
                "`decoder` must have a layer with a kernel, because the adaptive weight depends on "
                f"gradients of the last kernel. Received: {self.decoder!r}"
            )
        made = build_part(self.decoder, build_part(self.encoder, input_shape))
        build_part(self.discriminator, made)
        if self.feature_network is not None:
            self.feature_network(keras.KerasTensor(made))
        self.steps = self.add_weight(
            name="steps", initializer="zeros", trainable=False, dtype="float32", autocast=False
        )

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
        *,
        discriminator_optimizer: Any = None,
    ) -> None:
        """Configures training. Takes the arguments of `keras.Model.compile`.

        The optimizers are then available as `model.optimizer.generator` and
        `model.optimizer.discriminator`. Keras callbacks set the learning rates of both.

        Args:
            optimizer: Optimizer of the generator. Defaults to `"adam"`.
            loss: Reconstruction term; see `VQVAE`. Defaults to `None`.
            loss_weights: See `keras.Model.compile`, as for the following arguments.
            metrics: See `keras.Model.compile`.
            weighted_metrics: See `keras.Model.compile`.
            run_eagerly: See `keras.Model.compile`.
            steps_per_execution: See `keras.Model.compile`.
            jit_compile: See `keras.Model.compile`.
            auto_scale_loss: See `keras.Model.compile`.
            discriminator_optimizer: Optimizer of the discriminator. Defaults to `None`, which means
                a second optimizer with the configuration of the first. The authors' code uses Adam
                with `beta_1=0.5` and `beta_2=0.9` for both.

        Raises:
            ValueError: If both optimizers are the same object, or the dtype policy is
                `mixed_float16`, in which the gradients that the adaptive weight compares underflow.
        """
        if self.compute_dtype == "float16":
            raise ValueError(
                "The dtype policy of a VQGAN must not be float16, because the gradient norms of "
                "the adaptive weight underflow. Use 'mixed_bfloat16' or 'float32'. "
                f"Received: {self.dtype_policy.name!r}"
            )
        generator = keras.optimizers.get(optimizer)
        if discriminator_optimizer is None:
            # A distinct name, by which callbacks log the learning rate.
            config = {**generator.get_config(), "name": f"discriminator_{generator.name}"}
            discriminator_optimizer = type(generator).from_config(config)
        discriminator = keras.optimizers.get(discriminator_optimizer)
        if discriminator is generator:
            raise ValueError(
                "`discriminator_optimizer` must be a separate optimizer, or None for a copy of "
                f"`optimizer`. Received: {generator!r} for both"
            )
        both = AdversarialOptimizer(
            generator, discriminator, lambda: self.discriminator.trainable_variables
        )
        super().compile(
            both,
            loss,
            loss_weights,
            metrics,
            weighted_metrics,
            run_eagerly,
            steps_per_execution,
            jit_compile,
            auto_scale_loss,
        )

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the arguments of `compile`."""
        config = super().get_compile_config()
        if config:
            pair = self.optimizer.get_config()
            config["optimizer"] = pair["generator"]
            config["discriminator_optimizer"] = pair["discriminator"]
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles the model with the arguments that `get_compile_config` returned."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def call(self, inputs: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of inputs from their codes."""
        z = self.encoder(inputs, training=training)
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
        """Computes the VQ-VAE loss plus the perceptual and the adversarial losses.

        One scalar contains the losses of generator and discriminator. The discriminator loss has no
        gradient to the generator (its images pass `stop_gradient`), and the generator loss has none
        to the discriminator, which is frozen. Each weight therefore receives the gradient of its
        own player's loss. The sum of the two adversarial losses has no meaning as a value, and is
        subtracted again.
        """
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        target, made = x if y is None else y, y_pred["reconstruction"]
        generator_loss = self._generator_loss(made, training)
        discriminator_loss = self._discriminator_loss(target, made, training)
        weight = self._adaptive_weight(target, y_pred["latents"], sample_weight, training)
        perceptual_loss = self._perceptual_loss(target, made)
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
            self.adversarial_loss_weight * weight * generator_loss + discriminator_loss
        )
        added = self.perceptual_loss_weight * perceptual_loss + game - ops.stop_gradient(game)
        return loss + added / backend.loss_divisor()

    def _generator_loss(self, made: Tensor, training: bool = False) -> Tensor:
        """Computes the adversarial loss of the generator, a scalar, with D frozen."""
        with frozen(self.discriminator):
            fake = self._logits(made, training)
        return self.adversarial_loss.generator(fake)

    def _discriminator_loss(self, real: Tensor, made: Tensor, training: bool = False) -> Tensor:
        """Computes the loss of the discriminator on real and generated images, a scalar."""
        real, fake = self._logits(real, training), self._logits(ops.stop_gradient(made), training)
        return self.adversarial_loss.discriminator(real, fake)

    def _logits(self, images: Tensor, training: bool) -> Tensor:
        return ops.cast(self.discriminator(images, training=training), "float32")

    def _perceptual_loss(self, target: Tensor, made: Tensor) -> Tensor:
        """Computes the perceptual loss of two batches, a scalar; 0 without a feature network."""
        if self.perceptual is None:
            return ops.zeros(())
        return ops.mean(self.perceptual.call(target, made))

    def _adaptive_weight(
        self,
        target: Tensor,
        latents: Tensor,
        sample_weight: Tensor | None = None,
        training: bool = False,
    ) -> Tensor:
        """Computes the adaptive weight λ: the ratio of gradient norms at the last decoder kernel.

        The numerator is the gradient norm of the reconstruction and perceptual losses, the
        denominator that of the generator loss.

        Args:
            target: Target images.
            latents: Quantized latents, the input of the decoder.
            sample_weight: Weights of the inputs in the reconstruction term, or `None`. Defaults to
                `None`.
            training: Boolean. Whether the decoder runs in training mode. Defaults to `False`.

        Returns:
            A scalar in [0, 10⁴] without a gradient.
        """
        kernel = self._kernels()[-1]
        latents = ops.stop_gradient(latents)

        def likeness_and_verdict(value: Tensor) -> tuple[Tensor, Tensor]:
            with frozen(self.decoder, replaced=(kernel, value)):
                made = self.decoder(latents, training=training)
            likeness = self._reconstruction_loss(target, {"reconstruction": made}, sample_weight)
            likeness = likeness + self.perceptual_loss_weight * self._perceptual_loss(target, made)
            return likeness, self._generator_loss(made, training)

        by_likeness, by_verdict = (
            ops.norm(ops.reshape(gradient, (-1,)))
            for gradient in backend.gradients(likeness_and_verdict, ops.convert_to_tensor(kernel))
        )
        return ops.minimum(by_likeness / (by_verdict + _SMALLEST_NORM), _GREATEST_WEIGHT)

    def _kernels(self) -> list[keras.Variable]:
        return [weight for weight in self.decoder.weights if len(weight.shape) > 1]
