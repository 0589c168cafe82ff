"""A codebook seen through a layer that learns: SimVQ and its kin."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._building import build_part
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import OF_MEAN_COUNT, BaseCodebook


@keras.saving.register_keras_serializable("keras_vq")
class ProjectedCodebook(BaseCodebook):
    """Codes C = W(C₀): a layer W that learns, over codes C₀ that by default do not.

    A gradient that reaches one code reaches W, and so moves all of them: none is left behind.
    The loss is the codebook loss of `Codebook`.

    Sources: Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One
    Linear Layer" (SimVQ), 2024, with a linear W; with an affine layer, the reparametrization of
    Huh et al., "Straightening Out the Straight-Through Estimator", 2023, section 4.1; with a
    deeper network, VQBridge (2025).

    State that changes in training: the layer's weights (by the optimizer), `average_counts`.

    Args:
        codebook_size: Number of codes, K.
        projection: Layer of `(codebook_size, dim)` codes; a `Dense` without bias when None.
        weight: Weight of the codebook loss, at least 0.
        learn_codes: Whether C₀ learns by gradient too.
        decay: Decay of the usage average, in [0, 1).
        initializer: Keras initializer of C₀; normal of variance 1 / dim when None.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(keras_vq.ProjectedCodebook(65_536))
    """

    weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        codebook_size: int,
        projection: keras.Layer | None = None,
        weight: float = 1.0,
        learn_codes: bool = False,
        decay: float = 0.99,
        initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        refused = sorted({"restart", "seed"} & set(kwargs))
        if refused:
            raise TypeError(
                f"ProjectedCodebook has no argument `{refused[0]}`: its layer moves all codes, so "
                f"none is restarted. Remove it. Received: {kwargs[refused[0]]!r}"
            )
        super().__init__(codebook_size, decay, initializer=initializer, **kwargs)
        self.projection = projection
        self.weight = weight
        self.learn_codes = bool(learn_codes)

    def build(self, input_shape: Shape) -> None:
        """Creates C₀ and W for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        shape = (self.codebook_size, self.dim)
        self.embeddings = self.add_state(
            "embeddings", shape, self.initializer, trainable=self.learn_codes
        )
        linear = keras.layers.Dense(self.dim, use_bias=False, dtype="float32")
        self.layer = linear if self.projection is None else self.projection
        output_shape = build_part(self.layer, shape)
        if output_shape != shape:
            raise ValueError(
                f"`projection` must keep the shape of the codes, {shape}. Received: a layer that "
                f"returns shape {output_shape}"
            )

    def default_initializer(self) -> keras.initializers.Initializer:
        """Returns the initializer of C₀ when none is given."""
        return keras.initializers.VarianceScaling(mode="fan_out", distribution="untruncated_normal")

    def codes(self) -> Tensor:
        """All codes, a float32 tensor of shape `(codebook_size, dim)`."""
        return ops.cast(self.layer(ops.convert_to_tensor(self.embeddings)), "float32")

    def loss(self, vectors: Tensor, codes: Tensor, mask: Tensor | None) -> Tensor:
        """Mean squared distance from each code to the vectors that chose it."""
        return self.weight * vq_ops.error_to_fixed(codes, vectors, mask)

    def scale_to_unit_norm(self) -> None:
        """Nothing: what the layer gives is scaled where it is used."""

    def place_codes(self, codes: Tensor) -> None:
        """Replaces C₀ by the codes, and W by the identity.

        Raises:
            ValueError: If W is a layer that was given, of which the identity is not known.
        """
        if self.projection is not None:
            raise ValueError(
                "The codes of a ProjectedCodebook with a `projection` of its own cannot be set, "
                "because they are what that layer makes of its embeddings. Assign to `embeddings` "
                "and to the layer's weights instead, or leave `projection` out. "
                f"Received: projection={self.projection!r}"
            )
        self.average_counts.assign(OF_MEAN_COUNT * ops.ones((self.codebook_size,)))
        self.embeddings.assign(codes)
        self.layer.kernel.assign(ops.eye(self.dim))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        del config["restart"], config["seed"]
        return {
            **config,
            "projection": keras.saving.serialize_keras_object(self.projection),
            "weight": self.weight,
            "learn_codes": self.learn_codes,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ProjectedCodebook":
        """The codebook of a configuration."""
        projection = keras.saving.deserialize_keras_object(config["projection"])
        return cls(**{**config, "projection": projection})
