"""Rounding of convolution kernels to int8 values, for training around the rounded kernels."""

import keras
import numpy as np

from keras_vq import backend

_LARGEST = 127  # largest value of symmetric int8

# Kernels of each type of convolution and their axes of output channels, because LiteRT has a scale
# per channel. Subclasses come before their base classes.
_KERNELS: dict[tuple[type, ...], dict[str, tuple[int, ...]]] = {
    (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D): {"kernel": (-2, -1)},
    (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D): {
        "depthwise_kernel": (-2, -1),
        "pointwise_kernel": (-1,),
    },
    (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose): {"kernel": (-2,)},
    (keras.layers.Conv1D, keras.layers.Conv2D): {"kernel": (-1,)},
}


def round_convolutions(layer: keras.Layer) -> int:
    """Rounds the kernels of all convolutions in a layer to values that int8 represents exactly.

    Computes w ← s · round(w / s) with the scale s = max |w| / 127 of each output channel, as LiteRT
    does for int8 weights. An int8 export then has the same kernels as the model, so rounding of
    weights changes no codes. Rounding changes some codes of a trained model. To adapt to it, round
    and freeze the encoder, continue training of codebook and decoder, then round the decoder.

    Args:
        layer: Built layer or model, modified in place.

    Returns:
        Integer. Number of rounded kernels.

    Example:
        >>> import keras_vq
        >>> from keras_vq.export import round_convolutions
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> round_convolutions(encoder)
        3
        >>> encoder.trainable = False
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> model.compile("adam")
        >>> # After training with `model.fit`:
        >>> round_convolutions(decoder)
        3
    """
    count = 0
    for inner in backend.nested_layers(layer):
        for name, channels in _kernels_of(inner).items():
            kernel = getattr(inner, name)
            kernel.assign(_rounded(keras.ops.convert_to_numpy(kernel), channels))
            count += 1
    return count


def _kernels_of(layer: keras.Layer) -> dict[str, tuple[int, ...]]:
    for kinds, kernels in _KERNELS.items():
        if isinstance(layer, kinds):
            return kernels
    return {}


def _rounded(kernel: np.ndarray, channels: tuple[int, ...]) -> np.ndarray:
    kept = {axis % kernel.ndim for axis in channels}
    others = tuple(axis for axis in range(kernel.ndim) if axis not in kept)
    scale = np.abs(kernel).max(axis=others, keepdims=True) / _LARGEST
    scale = np.where(scale == 0, 1, scale)  # a channel of zeros
    return scale * np.round(kernel / scale)
