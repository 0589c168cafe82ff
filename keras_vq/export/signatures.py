"""What an exported model offers: named functions of one named tensor each."""

from typing import NamedTuple

import keras
from keras import ops

from keras_vq import ops as vq_ops
from keras_vq._types import Tensor


class TensorSpec(NamedTuple):
    """An input or output of a signature; the batch comes before `shape`, and may be of any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    # Least and greatest value, None where there is no bound.
    bounds: tuple[float | None, float | None]

    def input_spec(self) -> keras.InputSpec:
        """What Keras's exporters take, with a free batch."""
        return keras.InputSpec(dtype=self.dtype, shape=(None, *self.shape), name=self.name)


class Signature(NamedTuple):
    """One function that programs call in an exported model.

    `name` is `encode`, `decode` or `serving_default`, the name that TensorFlow Serving gives to
    the function of a request that names none; `method` is the model's method behind it.
    """

    name: str
    method: str
    input: TensorSpec
    output: TensorSpec


class SignatureModel(keras.Model):
    """A signature as a model of its own, for exporters that take one.

    Searches for codes are traced in one block: batches are of any size then, and only operations
    that every format knows are left.

    Args:
        model: The model whose method the signature names.
        signature: The signature.
        for_int8: Whether the search itself is going to be turned into int8.
    """

    def __init__(self, model: keras.Model, signature: Signature, for_int8: bool = False) -> None:
        super().__init__(name=signature.name)
        self.model = model
        self.signature = signature
        self.for_int8 = for_int8
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Applies the method."""
        with vq_ops.in_one_block(by_rank=self.for_int8):
            outputs = getattr(self.model, self.signature.method)(inputs)
        return ops.cast(outputs, self.signature.output.dtype)
