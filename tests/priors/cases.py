"""Test cases of priors over codes."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_vq import priors

SMALL = {"hidden_dim": 8, "num_layers": 1, "dropout": 0.0, "seed": 0}


class PriorCase(NamedTuple):
    """Prior so small that all code grids can be enumerated."""

    id: str
    build: Callable[..., Any]
    codebook_size: Any
    grid_shape: tuple[int, ...]
    options: dict[str, Any]

    def prior(self, **options: Any) -> Any:
        """Builds the prior; options override those of the case."""
        return self.build(self.codebook_size, self.grid_shape, **{**self.options, **options})

    def all_grids(self) -> np.ndarray:
        """Enumerates all code grids, shape `(n, *code_shape)`."""
        levels = self.codebook_size if isinstance(self.codebook_size, tuple) else ()
        sizes = levels or (self.codebook_size,)
        positions = int(np.prod(self.grid_shape))
        grids = itertools.product(*(range(size) for size in sizes * positions))
        shape = (*self.grid_shape, len(levels)) if levels else self.grid_shape
        return np.array(list(grids)).reshape(-1, *shape)


AUTOREGRESSIVE_CASES = [
    PriorCase("pixel_cnn", priors.PixelCNNPrior, 3, (2, 2), {**SMALL, "num_layers": 2}),
    PriorCase("pixel_cnn_levels", priors.PixelCNNPrior, (3, 2), (1, 1, 3), SMALL),
    PriorCase("transformer", priors.TransformerPrior, 3, (2, 2), {**SMALL, "num_heads": 2}),
    PriorCase(
        "transformer_levels", priors.TransformerPrior, (3, 2), (3,), {**SMALL, "num_heads": 2}
    ),
]
MASKED_CASES = [
    PriorCase(
        "masked", priors.MaskedPrior, 3, (2, 2), {**SMALL, "num_heads": 2, "sampling_steps": 4}
    ),
    PriorCase(
        "masked_levels",
        priors.MaskedPrior,
        (3, 2),
        (2,),
        {**SMALL, "num_heads": 2, "sampling_steps": 3},
    ),
]
PRIOR_CASES = AUTOREGRESSIVE_CASES + MASKED_CASES
