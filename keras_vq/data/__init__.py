"""Image sets by name or from a folder, on every backend, with and without TensorFlow."""

from keras_vq.data.image_dataset import ImageDataset
from keras_vq.data.loading import load

__all__ = ["ImageDataset", "load"]
