"""Super-resolution by a factor of 2: 14 x 14 to 28 x 28 (MNIST), 16 x 16 to 32 x 32 (CIFAR-10).

Low-resolution images are means of 2 x 2 pixels. The baselines are bicubic and Lanczos
interpolation. The models predict the residual of Lanczos interpolation (Kim et al., "Accurate Image
Super-Resolution Using Very Deep Convolutional Networks", 2016), so that codes need not represent
the low-resolution content. Figures are for the first 2,000 test images. The CIFAR-10 images come
from a JPEG copy if the data set does.

Run: python -m recipes.super_resolution [--epochs 1] [--limit N] [--datasets mnist]
"""

import numpy as np
from PIL import Image

from recipes import _restoration
from recipes._restoration import Damaged, Images, Task


def halved(images: Images, rng: np.random.Generator) -> Damaged:
    """Downsamples images by averaging 2 x 2 pixels."""
    del rng
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    return Damaged(blocks.mean(axis=(2, 4)))


def interpolated(images: Images, how: Image.Resampling) -> Images:
    """Upsamples images by a factor of 2, each channel in float32."""
    n, height, width, channels = images.shape
    made = np.empty((n, 2 * height, 2 * width, channels), "float32")
    for index in np.ndindex(n, channels):
        plane = Image.fromarray(np.ascontiguousarray(images[index[0], ..., index[1]]))
        made[index[0], ..., index[1]] = plane.resize((2 * width, 2 * height), how)
    return made


def lanczos(damaged: Damaged) -> Images:
    return interpolated(damaged.images, Image.Resampling.LANCZOS)


TASK = Task(
    "super_resolution",
    halved,
    lambda *_: {
        "bicubic": lambda damaged: interpolated(damaged.images, Image.Resampling.BICUBIC),
        "Lanczos": lanczos,
    },
    "half the resolution, and back",
    first_guess=lanczos,
)

if __name__ == "__main__":
    _restoration.run(TASK, __doc__.splitlines()[0])
