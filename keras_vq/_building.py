"""Building of layers that a caller hands over, with or without weights."""

import keras

from keras_vq._types import Shape


def build_part(part: keras.Layer, input_shape: Shape) -> Shape:
    """Builds a layer unless it is built, and returns its output shape.

    Args:
        part: Layer or model of one tensor.
        input_shape: Shape of the inputs, `None` for an unknown axis.
    """
    # A symbolic call: a model written by hand, with neither `build` nor `compute_output_shape`, is
    # built and measured by nothing less.
    return tuple(part(keras.KerasTensor(input_shape)).shape)
