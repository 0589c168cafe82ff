"""Container for the two scales of a `VQVAE2`."""

from typing import Any, NamedTuple


class HierarchicalCodes(NamedTuple):
    """Pair of values for the top and bottom scales of a `VQVAE2`: codes, shapes or codebook sizes.

    Example:
        >>> import numpy as np, keras_vq
        >>> codes = keras_vq.models.HierarchicalCodes(np.zeros((2, 4, 4)), np.zeros((2, 8, 8)))
        >>> codes.bottom.shape
        (2, 8, 8)
    """

    top: Any
    bottom: Any
