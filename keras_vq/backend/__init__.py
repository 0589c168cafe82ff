"""Backend functions: one module each for TensorFlow, JAX and PyTorch, with the same functions.

The other modules of the package call `backend.function(...)` and do not branch on the backend.
"""

import keras

from keras_vq.backend._common import SearchBlocks as SearchBlocks
from keras_vq.backend._common import without_autotune as without_autotune
from keras_vq.backend._private import compiled_loss as compiled_loss
from keras_vq.backend._private import nested_layers as nested_layers

if keras.backend.backend() == "tensorflow":
    from keras_vq.backend.tensorflow import *  # noqa: F403
elif keras.backend.backend() == "jax":
    from keras_vq.backend.jax import *  # noqa: F403
else:
    from keras_vq.backend.torch import *  # noqa: F403
