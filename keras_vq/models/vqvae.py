"""The vector-quantized variational autoencoder: a bottleneck of codes."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Start
from keras_vq.export import TensorSpec
from keras_vq.metrics.code_usage import CodebookUsage, Perplexity
from keras_vq.models._batches import first_targets
from keras_vq.models._images import variance
from keras_vq.models.base import ReconstructionModel
from keras_vq.quantizers.base import Quantizer

# A histogram of 2²⁰ codes takes 4 MiB.
MOST_CODES_COUNTED = 2**20


@keras.saving.register_keras_serializable("keras_vq")
class VQVAE(ReconstructionModel):
    """Encodes an image to a grid of codes, and decodes the codes.

    The loss is the reconstruction term plus what the quantizer adds (commitment, and the codebook
    loss if it learns by gradient). By default the reconstruction term is the mean squared error
    divided by the variance of the data: 1 is what the mean image would score, whatever the data.
    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017; the division:
    its authors' notebook in Sonnet.

    Args:
        encoder: Layer or model: images -> latents of shape `(batch, ..., dim)`.
        quantizer: A `Quantizer` of vectors of that dimension.
        decoder: Layer or model: quantized latents -> images.
        data_variance: Variance of the target pixels; None lets the first `fit` measure it (1
            until then).
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        images: Float tensor of shape `(batch, height, width, channels)`, pixels in [0, 1].

    Returns:
        A dictionary: `reconstruction` (images), `codes` (int32; the latents' shape less its
        last axis, and the quantizer's `index_shape`).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> sorted(history.history)
        ['codebook_usage', 'loss', 'perplexity', 'quantization_loss', 'reconstruction_loss']
        >>> codes = model.encode_to_codes(images)
        >>> codes.shape, model.decode_codes(codes).shape
        ((64, 2, 2), (64, 8, 8, 1))
    """

    loss_names = ("reconstruction_loss", "quantization_loss")
    exported_methods = ("encode_to_codes_batch", "decode_codes_batch")

    def __init__(
        self,
        encoder: keras.Layer,
        quantizer: Quantizer,
        decoder: keras.Layer,
        data_variance: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, **kwargs)
        if not isinstance(quantizer, Quantizer):
            raise ValueError(f"`quantizer` must be a keras_vq Quantizer. Received: {quantizer!r}")
        if data_variance is not None:
            _validation.check_positive("data_variance", data_variance)
        self.quantizer = quantizer
        self.data_variance = data_variance
        self.build_if_known()

    def build_parts(self, input_shape: Shape) -> None:
        """Builds encoder, quantizer and decoder for a batch of images."""
        latent_shape = self.build_encoder(input_shape)
        self.latent_shape = latent_shape[1:]
        if not self.quantizer.built:
            self.quantizer.build(latent_shape)
        self.build_decoder(latent_shape)
        # Codes too many to count are not: the logs then lack the two.
        sizes = list(self.quantizer.codebook_sizes)
        self.code_metrics = []
        if max(sizes) <= MOST_CODES_COUNTED:
            counted = sizes if self.quantizer.index_shape else sizes[0]
            self.code_metrics = [Perplexity(counted), CodebookUsage(counted)]
        # A weight, so that a saved model goes on with the variance it was trained with; 0 means
        # not measured yet.
        self.measured_variance = self.add_weight(
            name="measured_variance",
            initializer=keras.initializers.Constant(self.data_variance or 0.0),
            trainable=False,
            dtype="float32",
            autocast=False,
        )

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Reconstructs a batch of images from their codes."""
        z = self.encoder(images, training=training)
        z_q, codes = self.quantizer(z, training=training)
        x_hat = self.decoder(z_q, training=training)
        return {"reconstruction": x_hat, "codes": codes}

    def reconstruction_scale(self) -> Tensor:
        """One over the data's variance."""
        measured = ops.convert_to_tensor(self.measured_variance)
        return 1.0 / ops.where(measured > 0, measured, 1.0)

    def loss_terms(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the quantizer added, with activity penalties of other layers if there are any."""
        del outputs
        return {"quantization_loss": self.layer_losses()}

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Any, sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Counts the codes, and updates metrics of `compile(metrics=...)`."""
        for metric in self.code_metrics:
            metric.update_state(y_pred["codes"])
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def prepare_fit(self, x: Any, y: Any) -> None:
        """Measures the variance of the target, unless it is known."""
        if float(self.measured_variance) == 0.0 and self._compile_loss is None:
            self.measured_variance.assign(_target_variance(x, y))

    def adapt(self, images: Any, start: Start = "kmeans", batch_size: int = 128) -> None:
        """Places the codes among the latents of images, before training.

        Args:
            images: Array of shape `(n, height, width, channels)`, pixels in [0, 1].
            start: How; see `BaseCodebook.adapt`.
            batch_size: Images computed at a time.
        """
        self.quantizer.adapt(
            self.in_batches("continuous_latents", images, batch_size, self.image_shape),
            start=start,
        )

    def encode_batch(self, images: Tensor) -> Tensor:
        """Quantized latents of a batch of images."""
        z_q, _ = self.quantizer(self.encoder(images, training=False), training=False)
        return z_q

    def continuous_latents(self, images: Tensor) -> Tensor:
        """Latents of a batch of images before they are quantized."""
        return self.encoder(images, training=False)

    def interpolate_batch(self, latents: Tensor) -> Tensor:
        """Images of latents that are quantized first."""
        return self.decode_batch(self.quantizer(latents, training=False)[0])

    def encode_to_codes_batch(self, images: Tensor) -> Tensor:
        """Codes of a batch of images."""
        return self.quantizer.encode(self.encoder(images, training=False))

    def decode_codes_batch(self, codes: Tensor) -> Tensor:
        """Images of a batch of codes."""
        return self.decode_batch(self.quantizer.decode(codes))

    def encode_to_codes(self, images: Any, batch_size: int = 128) -> np.ndarray:
        """Codes of images.

        Args:
            images: Array of shape `(n, height, width, channels)`, pixels in [0, 1].
            batch_size: Images computed at a time.

        Returns:
            Int32 array of the latents' shape less its last axis, such as `(n, 7, 7)`.
        """
        return self.in_batches("encode_to_codes_batch", images, batch_size, self.image_shape)

    def decode_codes(self, codes: Any, batch_size: int = 128) -> np.ndarray:
        """Images of codes; `decode_codes(encode_to_codes(x))` equals `reconstruct(x)`.

        Args:
            codes: Integer array, as `encode_to_codes` returns them; values in
                `[0, codebook_size)` of their level, or -1 for a zero latent.
            batch_size: Images computed at a time.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.

        Raises:
            ValueError: If a code is not a whole number, or out of range.
        """
        codes = np.asarray(ops.convert_to_numpy(codes))
        sizes = np.array(self.quantizer.codebook_sizes)
        is_whole = codes.dtype.kind in "iu" and codes.size % len(sizes) == 0
        levels = codes.reshape(-1, len(sizes)) if is_whole else codes
        if not is_whole or not (levels >= -1).all() or not (levels < sizes).all():
            span = f"{codes.min()} to {codes.max()}" if codes.size else "no values"
            limit = " or ".join(str(size - 1) for size in dict.fromkeys(sizes.tolist()))
            raise ValueError(
                f"`codes` must be integers from 0 to {limit} (or -1). "
                f"Received: {codes.dtype} values, {span}, of shape {codes.shape}"
            )
        return self.in_batches("decode_codes_batch", codes.astype("int32"), batch_size)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the codes of one image, such as `(7, 7)`, or `(7, 7, L)` for L levels.

        Raises:
            ValueError: If it is not known yet.
        """
        known = self.built and None not in self.latent_shape
        if not known:
            raise ValueError(
                "The shape of the codes is not known: give the encoder an Input of the images' "
                f"shape, and fit the model or call it on a batch. Received: {self!r}"
            )
        shape = self.quantizer.indices_shape((1, *self.latent_shape))
        return tuple(int(size or 0) for size in shape[1:])

    def generate(self, prior: Any, n: int, batch_size: int = 128, **options: Any) -> np.ndarray:
        """New images: decodes codes that a prior draws.

        Args:
            prior: A prior that was fitted to codes of this model; see `keras_vq.priors`.
            n: Number of images.
            batch_size: Images decoded at a time.
            **options: What `prior.generate` takes: `labels`, `temperature`, `top_k`, `top_p`,
                `guidance`, `seed` and so on.

        Returns:
            Float32 array of shape `(n, height, width, channels)`.

        Raises:
            ValueError: If an argument is out of its range, or the prior is not of this model's
                codes.
        """
        return self.decode_codes(prior.generate(n, **options), batch_size)

    def _exported_latents(self, shape: tuple[int, ...]) -> TensorSpec:
        return TensorSpec("codes", "int32", shape, (0, max(self.quantizer.codebook_sizes) - 1))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "quantizer": keras.saving.serialize_keras_object(self.quantizer),
            "data_variance": self.data_variance,
        }


def _target_variance(x: Any, y: Any) -> float:
    """Variance of the targets of `fit(x, y)`; of the first 100 batches of a data set."""
    target = first_targets(x, y, batches=100)
    if target is None:
        raise ValueError(
            "The default loss divides by the variance of the data, which can't be measured on "
            "data that can be read only once: give `data_variance` to VQVAE, or a loss to "
            f"`compile`. Received: {type(x).__name__}"
        )
    measured = variance(target)
    if not measured > 0:
        raise ValueError(
            "The target images are all one colour, so that their variance, by which the default "
            "loss divides, is 0: check the data, or give `data_variance`. "
            f"Received: variance {measured}"
        )
    return measured
