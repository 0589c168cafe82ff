"""What a VQVAE2 has of each of its levels."""

from typing import Any, NamedTuple


class TwoLevelCodes(NamedTuple):
    """The codes of a `VQVAE2`, or what is told of them: their shapes, their codebooks' sizes.

    Example:
        >>> import numpy as np, keras_vq
        >>> codes = keras_vq.models.TwoLevelCodes(np.zeros((2, 4, 4)), np.zeros((2, 8, 8)))
        >>> codes.bottom.shape
        (2, 8, 8)
    """

    top: Any
    bottom: Any
