"""Image data sets by name or from a folder, independent of the backend and of TensorFlow.

Chunks of sound.
"""

from keras_vq.data.image_batches import ImageBatches
from keras_vq.data.image_dataset import ImageDataset
from keras_vq.data.image_file import read_image
from keras_vq.data.loading import load
from keras_vq.data.sound_chunks import SoundChunks
from keras_vq.data.splits import UnknownSplitError

__all__ = [
    "ImageBatches",
    "ImageDataset",
    "SoundChunks",
    "UnknownSplitError",
    "load",
    "read_image",
]
