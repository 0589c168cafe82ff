"""Inpainting: a random square hole of 10 x 10 pixels, on MNIST and CIFAR-10.

The model inputs are the image with the hole filled by biharmonic interpolation (scikit-image) and
the mask of the hole. The models predict the residual of that estimate inside the hole; the other
pixels are known. The baselines are the interpolation and the mean color of the remaining pixels.
Figures are for the first 2,000 test images. The CIFAR-10 images come from a JPEG copy if the data
set does.

Run: python -m recipes.inpaint [--epochs 1] [--limit N] [--datasets mnist]
"""

import numpy as np
from rich.progress import track
from skimage.restoration import inpaint_biharmonic

from recipes import _restoration
from recipes._restoration import Damaged, Images, Task

SIDE = 10
GRAY = 0.5


def with_hole(images: Images, rng: np.random.Generator) -> Damaged:
    """Cuts a gray square into each image, at least one pixel from the border."""
    n, height, width, _ = images.shape
    top = rng.integers(1, height - SIDE, n)[:, None, None]
    left = rng.integers(1, width - SIDE, n)[:, None, None]
    rows, columns = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    is_row = (rows >= top) & (rows < top + SIDE)
    is_column = (columns >= left) & (columns < left + SIDE)
    holes = (is_row & is_column)[..., None]
    return Damaged(np.where(holes, np.float32(GRAY), images), holes)


def biharmonic(damaged: Damaged) -> Images:
    assert damaged.holes is not None
    pairs = zip(damaged.images, damaged.holes[..., 0], strict=True)
    made = [
        inpaint_biharmonic(image, hole, channel_axis=-1)
        for image, hole in track(pairs, "Interpolating", len(damaged.images))
    ]
    return np.stack(made).astype("float32")


def mean_color(damaged: Damaged) -> Images:
    known = ~damaged.holes
    counts = known.sum(axis=(1, 2), keepdims=True)
    means = np.where(known, damaged.images, 0).sum(axis=(1, 2), keepdims=True) / counts
    return np.where(known, damaged.images, means.astype("float32"))


TASK = Task(
    "inpaint",
    with_hole,
    lambda *_: {"biharmonic interpolation": biharmonic, "mean color": mean_color},
    f"holes of {SIDE} x {SIDE} pixels filled",
    first_guess=biharmonic,
)

if __name__ == "__main__":
    _restoration.run(TASK, __doc__.splitlines()[0])
