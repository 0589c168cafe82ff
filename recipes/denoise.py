"""Denoising: `fit(noisy, clean)` with a discrete bottleneck, on MNIST and CIFAR-10.

Gaussian noise with a standard deviation of 0.2 (0.4 for MNIST), clipped to [0, 1]. The baselines
are a 3 x 3 median filter, a Gaussian blur and total variation; the strength of the last two is
tuned on 1,000 training images. Figures are for the first 2,000 test images. The CIFAR-10 images
come from a JPEG copy if the data set does.

Run: python -m recipes.denoise [--epochs 1] [--limit N] [--datasets mnist]
"""

import functools
from collections.abc import Callable, Mapping

import numpy as np
from scipy import ndimage
from skimage.restoration import denoise_tv_chambolle

from recipes import _restoration
from recipes._restoration import Damaged, Images, Task
from recipes.common import mean_squared_error

# Candidate standard deviations of the blur in pixels, and weights of total variation.
BLURS = (0.4, 0.6, 0.8, 1.0, 1.2)
WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4)
TRIED_ON = 1000


def noisy(images: Images, rng: np.random.Generator) -> Damaged:
    """Adds noise to images; twice as much to gray ones, which are mostly black and white."""
    deviation = 0.4 if images.shape[-1] == 1 else 0.2
    noise = deviation * rng.standard_normal(images.shape, "float32")
    return Damaged(np.clip(images + noise, 0.0, 1.0))


def median(damaged: Damaged) -> Images:
    return ndimage.median_filter(damaged.images, size=(1, 3, 3, 1))


def blurred(damaged: Damaged, sigma: float) -> Images:
    return ndimage.gaussian_filter(damaged.images, sigma=(0, sigma, sigma, 0))


def total_variation(damaged: Damaged, weight: float) -> Images:
    """Denoises by Chambolle, "An Algorithm for Total Variation Minimization", 2004."""
    made = [denoise_tv_chambolle(image, weight, channel_axis=-1) for image in damaged.images]
    return np.stack(made).astype("float32")


def classical(damaged: Damaged, clean: Images) -> Mapping[str, Callable[[Damaged], Images]]:
    """Returns the baselines, each with its strength tuned on training images."""
    few = Damaged(damaged.images[:TRIED_ON])

    def best(undo: Callable[[Damaged, float], Images], choices: tuple[float, ...]) -> float:
        return min(
            choices, key=lambda choice: mean_squared_error(clean[:TRIED_ON], undo(few, choice))
        )

    return {
        "median of 3 x 3": median,
        "Gaussian blur": functools.partial(blurred, sigma=best(blurred, BLURS)),
        "total variation": functools.partial(
            total_variation, weight=best(total_variation, WEIGHTS)
        ),
    }


TASK = Task(
    "denoise",
    noisy,
    classical,
    "Gaussian noise taken off",
)

if __name__ == "__main__":
    _restoration.run(TASK, __doc__.splitlines()[0])
