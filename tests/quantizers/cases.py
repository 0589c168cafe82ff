"""One row for each kind of quantizer: the contract's tests run over all of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras_vq


class QuantizerCase(NamedTuple):
    """A quantizer for vectors of dimension 4."""

    id: str
    build: Callable[[], Any]
    # Whether training changes the layer without an optimizer.
    learns_by_statistics: bool
    # Whether the optimizer has weights to change.
    learns_by_gradient: bool
    # Whether the gradient passes to the inputs unchanged.
    is_straight_through: bool = True


QUANTIZER_CASES = [
    QuantizerCase(
        "ema",
        lambda: keras_vq.VectorQuantizer(keras_vq.EMACodebook(16)),
        learns_by_statistics=True,
        learns_by_gradient=False,
    ),
    QuantizerCase(
        "ema_bias_correction",
        lambda: keras_vq.VectorQuantizer(
            keras_vq.EMACodebook(16, decay=0.9, epsilon=1e-4, bias_correction=True)
        ),
        learns_by_statistics=True,
        learns_by_gradient=False,
    ),
    QuantizerCase(
        "default_with_restart",
        lambda: keras_vq.VectorQuantizer(16),
        learns_by_statistics=True,
        learns_by_gradient=False,
    ),
    QuantizerCase(
        "gradient",
        lambda: keras_vq.VectorQuantizer(keras_vq.Codebook(16), commitment=0.5),
        learns_by_statistics=True,  # the usage average
        learns_by_gradient=True,
    ),
    QuantizerCase(
        "gradient_with_restart",
        lambda: keras_vq.VectorQuantizer(
            keras_vq.Codebook(16, restart=keras_vq.DeadCodeRestart(sampling="uniform"))
        ),
        learns_by_statistics=True,
        learns_by_gradient=True,
    ),
    QuantizerCase(
        "rotation_trick",
        lambda: keras_vq.VectorQuantizer(16, estimator="rotation_trick"),
        learns_by_statistics=True,
        learns_by_gradient=False,
        is_straight_through=False,
    ),
    QuantizerCase(
        "one_code",
        lambda: keras_vq.VectorQuantizer(keras_vq.EMACodebook(1)),
        learns_by_statistics=True,
        learns_by_gradient=False,
    ),
]
