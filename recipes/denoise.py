"""Noise taken off: `fit(noisy, clean)` with codes as the bottleneck, on MNIST and CIFAR-10.

Gaussian noise of a deviation of 0.2 (MNIST: 0.4), clipped to [0, 1], beside the median of 3 x 3
pixels and a Gaussian blur. The CIFAR-10 images come from a JPEG copy where the data set does.

Run: python -m recipes.denoise [--epochs 4] [--limit N]
"""

import numpy as np
from scipy import ndimage

from recipes import _restoration
from recipes._restoration import Damaged, Images, Task


def noisy(images: Images, rng: np.random.Generator) -> Damaged:
    """Images with noise; grey ones, which are mostly black and white, with twice as much."""
    deviation = 0.4 if images.shape[-1] == 1 else 0.2
    noise = deviation * rng.standard_normal(images.shape, "float32")
    return Damaged(np.clip(images + noise, 0.0, 1.0))


def median(damaged: Damaged) -> Images:
    return ndimage.median_filter(damaged.images, size=(1, 3, 3, 1))


def blurred(damaged: Damaged) -> Images:
    return ndimage.gaussian_filter(damaged.images, sigma=(0, 0.8, 0.8, 0))


TASK = Task(
    "denoise",
    noisy,
    {"median of 3 x 3": median, "Gaussian blur, 0.8 pixels": blurred},
    "Gaussian noise taken off",
)

if __name__ == "__main__":
    _restoration.run(TASK, __doc__.splitlines()[0])
