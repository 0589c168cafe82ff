"""Comparison of generated with real images by several metrics."""

from collections.abc import Callable
from typing import Any

from keras_vq.metrics.frechet_distance import frechet_distance
from keras_vq.metrics.image_features import check_images, image_features
from keras_vq.metrics.kernel_distance import kernel_distance
from keras_vq.metrics.precision_recall import precision_recall


def compare_images(
    network: Callable[[Any], Any],
    real: Any,
    generated: Any,
    subsets: int = 100,
    subset_size: int = 1000,
    k: int = 3,
    seed: int | None = 0,
    batch_size: int = 128,
) -> dict[str, float]:
    """Compares generated with real images by several metrics on features of one network.

    Use test images as `real` and the same number of generated images, 10,000 of each or more. The
    scores of training images against test images are the best that a model can reach.

    Papers use features of Inception, which is trained on color photographs:

        inception = keras.applications.InceptionV3(include_top=False, pooling="avg")

        def network(images):  # (n, height, width, 3), pixels in [0, 1]
            images = keras.ops.image.resize(images, (299, 299))
            return inception(2.0 * images - 1.0, training=False)

        compare_images(network, test_images, vae.generate(10_000))

    Results of this function are comparable with each other. They are close to published FID and
    KID values but not equal, because those use other weights and another resizing method (Parmar
    et al., "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", 2022). Do not report
    results with another network, such as a classifier of your data, as FID or KID without naming
    the network.

    Args:
        network: Keras model or function from images to features. See `image_features`.
        real: Array of shape `(n, height, width, channels)`, pixels in [0, 1].
        generated: Array of shape `(m, height, width, channels)`, pixels in [0, 1].
        subsets: Integer. Number of subsets for the kernel distance. Defaults to 100.
        subset_size: Integer. Number of images per subset. Defaults to 1000.
        k: Integer. Number of nearest neighbors for precision and recall. Defaults to 3.
        seed: Integer. Seed of the subsets, or None for other subsets in each call. Defaults to 0.
        batch_size: Integer. Batch size of the network. Defaults to 128.

    Returns:
        Dictionary with `frechet_distance` and `kernel_distance` (lower is better),
        `kernel_distance_deviation` (standard deviation over subsets), `precision` and `recall`
        (higher is better).

    Raises:
        ValueError: If images or features are invalid, or there are too few images.

    Example:
        >>> import numpy as np
        >>> from keras_vq.metrics import compare_images
        >>> images = np.random.default_rng(0).random((200, 8, 8, 1))
        >>> def network(images):  # means of the four quarters
        ...     return images.reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(-1, 4)
        >>> scores = compare_images(network, images[:100], 0.5 * images[100:], subset_size=50)
        >>> 0.2 < scores["frechet_distance"] < 0.3  # about 4 · 0.25²
        True
        >>> scores["precision"]
        0.0
    """
    real, generated = check_images("real", real), check_images("generated", generated)
    if real.shape[1:] != generated.shape[1:]:
        raise ValueError(
            "`real` and `generated` must be images of the same shape. "
            f"Received: {real.shape} and {generated.shape}"
        )
    real_features = image_features(network, real, batch_size)
    generated_features = image_features(network, generated, batch_size)
    distance, deviation = kernel_distance(
        real_features, generated_features, subsets, subset_size, seed
    )
    precision, recall = precision_recall(real_features, generated_features, k)
    return {
        "frechet_distance": frechet_distance(real_features, generated_features),
        "kernel_distance": distance,
        "kernel_distance_deviation": deviation,
        "precision": precision,
        "recall": recall,
    }
