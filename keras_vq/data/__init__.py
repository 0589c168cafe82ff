"""Image data sets by name or from a folder, independent of the backend and of TensorFlow."""

from keras_vq.data.image_batches import ImageBatches
from keras_vq.data.image_dataset import ImageDataset
from keras_vq.data.image_file import read_image
from keras_vq.data.loading import load
from keras_vq.data.splits import UnknownSplitError

__all__ = ["ImageBatches", "ImageDataset", "UnknownSplitError", "load", "read_image"]
