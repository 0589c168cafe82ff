"""Building of layers that are passed as arguments."""

import keras

from keras_vq._types import Shape


def build_part(part: keras.Layer, input_shape: Shape) -> Shape:
    """Builds a layer unless it is built, and returns its output shape.

    Args:
        part: Keras layer or model with one input and one output tensor.
        input_shape: Tuple of integers or `None` (unknown). Shape of the inputs.
    """
    # A symbolic call, because a subclassed model may have neither `build` nor
    # `compute_output_shape`.
    return tuple(part(keras.KerasTensor(input_shape)).shape)
