"""Signatures of exported models: named functions with one named input and output tensor."""

from collections.abc import Callable
from typing import NamedTuple

import keras
from keras import ops

from keras_vq._export_mode import export_mode
from keras_vq._types import Tensor


class TensorSpec(NamedTuple):
    """Input or output of a signature. `shape` excludes the batch dimension, which has any size.

    Example:
        >>> import keras_vq
        >>> model = keras_vq.VQVAE.from_preset("vqvae_mnist")
        >>> model.signatures()[0].input
        TensorSpec(name='inputs', dtype='float32', shape=(28, 28, 1), bounds=(0.0, 1.0))
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    # Lowest and highest value, None if unbounded.
    bounds: tuple[float | None, float | None]

    def input_spec(self) -> keras.InputSpec:
        """Returns the `InputSpec` for Keras's exporters, with an unknown batch size."""
        return keras.InputSpec(dtype=self.dtype, shape=(None, *self.shape), name=self.name)


class Signature(NamedTuple):
    """Function of an exported model.

    `name` is `encode`, `decode` or `serving_default` (the default signature of TensorFlow Serving).
    `method` is the method of the model that computes it.

    Example:
        >>> import keras_vq
        >>> model = keras_vq.VQVAE.from_preset("vqvae_mnist")
        >>> encode = model.signatures()[0]
        >>> encode.name, encode.input.name, encode.output.name
        ('encode', 'inputs', 'codes')
    """

    name: str
    method: Callable[[Tensor], Tensor]
    input: TensorSpec
    output: TensorSpec


class SignatureModel(keras.Model):
    """Model that computes one signature, for Keras's exporters.

    The nearest-code search is traced in one block, so the graph accepts any batch size and uses
    only operations that all formats support.

    Args:
        model: Model with the method of the signature.
        signature: `Signature`.
        for_int8: Boolean. Whether the nearest-code search will be quantized to int8. Defaults to
            False.
    """

    def __init__(self, model: keras.Model, signature: Signature, for_int8: bool = False) -> None:
        super().__init__(name=signature.name)
        self.model = model
        self.signature = signature
        self.for_int8 = for_int8
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Calls the method of the signature and casts its output."""
        with export_mode(by_rank=self.for_int8):
            outputs = self.signature.method(inputs)
        return ops.cast(outputs, self.signature.output.dtype)
