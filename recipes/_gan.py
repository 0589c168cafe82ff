"""Generative adversarial network (GAN) used as a baseline.

Source: Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", 2016 (DCGAN): strided convolutions, batch normalization, Adam with a momentum
of 0.5. Differences: fewer filters, a sigmoid output and the initializers of Keras. The generator
uses the non-saturating loss.
"""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

LATENT_DIM = 64
LEARNING_RATE = 2e-4


@keras.saving.register_keras_serializable("keras_vq_recipes")
class DCGAN(keras.Model):
    """Deep convolutional GAN (DCGAN) whose two networks are trained in one step by one optimizer.

    Args:
        image_shape: (height, width, channels); 4 divides height and width.
        filters: List of integers. Filters of the layers, starting next to the pixels.
        seed: Integer. Seed of the noise.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        filters: tuple[int, int] = (64, 128),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape, self.filters, self.seed = tuple(image_shape), tuple(filters), seed
        self.noise = keras.random.SeedGenerator(seed)
        self.generator = _generator(self.image_shape, self.filters)
        self.discriminator = _discriminator(self.image_shape, self.filters)
        self.trackers = [
            keras.metrics.Mean(name=name) for name in ("generator_loss", "discriminator_loss")
        ]
        self.built = True

    def call(self, images: Any, training: bool = False) -> dict[str, Any]:
        """Returns generated images and the discriminator logits of generated and real images."""
        noise = keras.random.normal((ops.shape(images)[0], LATENT_DIM), seed=self.noise)
        made = self.generator(noise, training=training)
        # The loss of each network passes no gradient to the weights of the other.
        real = self.discriminator(images, training=training)
        fake = self.discriminator(ops.stop_gradient(made), training=training)
        weights = self.discriminator.variables
        with keras.StatelessScope([(w, ops.stop_gradient(w.value)) for w in weights]):
            verdict = self.discriminator(made, training=training)
        return {"real": real, "fake": fake, "verdict": verdict}

    def compute_loss(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Computes the sum of the generator and discriminator losses."""
        del x, y, sample_weight, training
        generator = ops.mean(ops.softplus(-y_pred["verdict"]))
        discriminator = ops.mean(ops.softplus(-y_pred["real"]) + ops.softplus(y_pred["fake"]))
        for tracker, loss in zip(self.trackers, (generator, discriminator), strict=True):
            tracker.update_state(loss)
        return generator + discriminator

    def generate(self, n: int, seed: int) -> np.ndarray:
        """Generates `n` images."""
        noise = np.random.default_rng(seed).standard_normal((n, LATENT_DIM), "float32")
        return self.generator.predict(noise, batch_size=256, verbose=0)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns the activations of the discriminator before its last layer."""
        inner = keras.Model(self.discriminator.inputs, self.discriminator.layers[-2].output)
        return inner.predict(images, batch_size=256, verbose=0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {"image_shape": self.image_shape, "filters": self.filters, "seed": self.seed}


def _generator(image_shape: tuple[int, int, int], filters: tuple[int, int]) -> keras.Model:
    height, width, channels = image_shape
    strided = {"kernel_size": 4, "strides": 2, "padding": "same"}
    return keras.Sequential(
        [
            keras.Input((LATENT_DIM,)),
            layers.Dense(height // 4 * (width // 4) * filters[1], use_bias=False),
            layers.Reshape((height // 4, width // 4, filters[1])),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2DTranspose(filters[0], use_bias=False, **strided),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2DTranspose(channels, activation="sigmoid", **strided),
        ],
        name="generator",
    )


def _discriminator(image_shape: tuple[int, int, int], filters: tuple[int, int]) -> keras.Model:
    strided = {"kernel_size": 4, "strides": 2, "padding": "same"}
    return keras.Sequential(
        [
            keras.Input(image_shape),
            layers.Conv2D(filters[0], **strided),
            layers.LeakyReLU(0.2),
            layers.Conv2D(filters[1], use_bias=False, **strided),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.2),
            layers.Flatten(),
            layers.Dense(1),
        ],
        name="discriminator",
    )
