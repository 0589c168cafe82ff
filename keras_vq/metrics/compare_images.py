"""All measures of generated images at once."""

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
    """How far generated images are from real ones, by several measures on one network's features.

    Take test images as the real ones, and as many generated ones: 10,000 of each, or more. What
    training images score against test images is the best that can be hoped for.

    Papers measure on features of Inception, which is made for colour photographs:

        inception = keras.applications.InceptionV3(include_top=False, pooling="avg")

        def network(images):  # (n, height, width, 3), pixels in [0, 1]
            images = keras.ops.image.resize(images, (299, 299))
            return inception(2.0 * images - 1.0, training=False)

        compare_images(network, test_images, vae.generate(10_000))

    Figures of that function compare with each other. They are near, and not equal to, published
    FIDs and KIDs, whose network has weights and a resizing of its own (see Parmar et al., "On
    Aliased Resizing and Surprising Subtleties in GAN Evaluation", 2022). Figures on any other
    network, such as a classifier of one's own data, must not be called FID or KID without its
    name.

    Args:
        network: Keras model or function, images -> features; see `image_features`.
        real: Array of shape `(n, height, width, channels)`, pixels in [0, 1].
        generated: Array of shape `(m, height, width, channels)`, pixels in [0, 1].
        subsets: Number of subsets of the kernel distance.
        subset_size: Images of each set in such a subset.
        k: Which neighbour decides for precision and recall.
        seed: Seed of the subsets.
        batch_size: Images that the network computes at a time.

    Returns:
        A dictionary: `frechet_distance` and `kernel_distance` (less is better),
        `kernel_distance_deviation` (over the subsets), `precision` and `recall` (more is better).

    Raises:
        ValueError: If images, features or their number are not as the measures need them.

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
            "`real` and `generated` must be images of one shape. "
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
