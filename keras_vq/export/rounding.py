"""Kernels rounded to what int8 holds, so that training can go on around them."""

import keras
import numpy as np

_LARGEST = 127  # of symmetric int8

# Of each kind of convolution the kernels, and their axes of output channels: each channel has a
# scale of its own in LiteRT. Subclasses come before the classes they derive from.
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
    """Rounds the kernels of all convolutions in a layer to multiples of a scale that int8 holds.

    w ← s · round(w / s), s = max |w| / 127 for each output channel: what LiteRT keeps of a float32
    kernel in int8. An export of such a model in int8 has exactly its kernels, so that no code
    differs for their sake. Rounding itself changes some codes, so train on around it: round the
    encoder, freeze it, let codebook and decoder adapt to what it now gives, then round the decoder.

    Args:
        layer: A built layer or model; it is changed in place.

    Returns:
        How many kernels were rounded.

    Example:
        >>> import keras_vq
        >>> from keras_vq.export import round_convolutions
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> round_convolutions(encoder)
        3
        >>> encoder.trainable = False
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
        >>> model.compile("adam")
        >>> model.fit(images)  # doctest: +SKIP
        >>> round_convolutions(decoder)
        3
    """
    count = 0
    for inner in layer._flatten_layers():
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
