"""Codebook reparameterized by a trainable layer (SimVQ)."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._building import build_part
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import OF_MEAN_COUNT, Codebook


@keras.saving.register_keras_serializable("keras_vq")
class ProjectedCodebook(Codebook):
    """Codebook reparameterized by a trainable layer (SimVQ).

    The code vectors are C = W(C₀), with a trainable layer W and embeddings C₀ that are frozen by
    default. The gradient of any code vector updates W and thereby all code vectors, including
    those of unused codes. The loss is the codebook loss of `GradientCodebook`.

    Sources: Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One
    Linear Layer" (SimVQ), 2024, with a linear W; with an affine layer, the reparameterization of
    Huh et al., "Straightening Out the Straight-Through Estimator", 2023, section 4.1; with a
    deeper network, VQBridge (2025).

    State updated in training: the weights of W (by the optimizer), `ema_counts`.

    Args:
        codebook_size: Integer. Number of code vectors, K.
        projection: Keras layer W, which maps inputs of shape `(codebook_size, dim)` to that shape.
            `None` uses a `Dense` layer without bias. Defaults to `None`.
        codebook_loss_weight: Float, at least 0. Weight of the codebook loss. Defaults to 1.0.
        learn_codes: Boolean. Whether C₀ is trained too. Defaults to `False`.
        decay: Float in [0, 1). Decay of the EMA of usage. Defaults to 0.99.
        initializer: Keras initializer of C₀. `None` samples from a normal distribution with
            variance 1 / dim. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.ProjectedCodebook(65_536))
    """

    codebook_loss_weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        codebook_size: int,
        projection: keras.Layer | None = None,
        codebook_loss_weight: float = 1.0,
        learn_codes: bool = False,
        decay: float = 0.99,
        initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        refused = sorted({"restart", "seed"} & set(kwargs))
        if refused:
            raise TypeError(
                f"ProjectedCodebook has no argument `{refused[0]}`, because the projection updates "
                "all code vectors and none are restarted. Remove the argument. "
                f"Received: {kwargs[refused[0]]!r}"
            )
        super().__init__(codebook_size, decay, initializer=initializer, **kwargs)
        self.projection = projection
        self.codebook_loss_weight = codebook_loss_weight
        self.learn_codes = bool(learn_codes)

    def build(self, input_shape: Shape) -> None:
        """Creates C₀ and W for inputs of shape `(..., dim)`."""
        super().build(input_shape)
        shape = (self.codebook_size, self.dim)
        self.embeddings = self._add_state(
            "embeddings", shape, self.initializer, trainable=self.learn_codes
        )
        linear = keras.layers.Dense(self.dim, use_bias=False, dtype="float32")
        self.layer = linear if self.projection is None else self.projection
        output_shape = build_part(self.layer, shape)
        if output_shape != shape:
            raise ValueError(
                f"`projection` must preserve the shape of the code vectors, {shape}. Received: a "
                f"layer that returns shape {output_shape}"
            )

    def _default_initializer(self) -> keras.initializers.Initializer:
        """Returns the initializer of C₀ that is used if none is given."""
        return keras.initializers.VarianceScaling(mode="fan_out", distribution="untruncated_normal")

    def code_vectors(self) -> Tensor:
        """Returns all code vectors: float32, shape `(codebook_size, dim)`."""
        return ops.cast(self.layer(ops.convert_to_tensor(self.embeddings)), "float32")

    def _loss(self, vectors: Tensor, quantized: Tensor, mask: Tensor | None) -> Tensor:
        """Computes the scalar codebook loss."""
        return self.codebook_loss_weight * vq_ops.stop_gradient_mse(quantized, vectors, mask)

    def _scale_to_unit_norm(self) -> None:
        """Does nothing, because quantizers normalize the output of W at each lookup."""

    def _place_embeddings(self, embeddings: Tensor) -> None:
        """Sets C₀ to the given code vectors, and W to the identity.

        Raises:
            ValueError: If a `projection` was given, which cannot be set to the identity in general.
        """
        if self.projection is not None:
            raise ValueError(
                "The code vectors of a ProjectedCodebook with `projection` cannot be set, because "
                "they are outputs of the layer. Assign to `embeddings` and to the weights of the "
                "layer instead, or remove `projection`. "
                f"Received: projection={self.projection!r}"
            )
        self.ema_counts.assign(OF_MEAN_COUNT * ops.ones((self.codebook_size,)))
        self.embeddings.assign(embeddings)
        self.layer.kernel.assign(ops.eye(self.dim))
