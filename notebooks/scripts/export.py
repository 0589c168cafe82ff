# %% [markdown]
# # Export to SavedModel, LiteRT and ONNX
#
# Exports a trained model to three formats, runs each file without Keras, and compares the codes.

# %% tags=["parameters"]
IMAGES = 512

# %%
import tempfile
from pathlib import Path

import numpy as np

import keras_vq

model = keras_vq.VQVAE.from_preset("vqvae_mnist")
images = keras_vq.data.load("mnist", "test").take(IMAGES).images
codes = model.encode(images)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## ONNX with onnxruntime

# %%
import onnxruntime

model.export(folder / "onnx", format="onnx")
session = onnxruntime.InferenceSession(folder / "onnx" / "encode.onnx")
(name,) = [tensor.name for tensor in session.get_inputs()]
found = session.run(None, {name: images})[0]
print(f"{100 * np.mean(found == codes):.2f} % of the codes agree")

# %% [markdown]
# ## LiteRT for mobile and embedded devices

# %%
from ai_edge_litert.interpreter import Interpreter

model.export(folder / "model.tflite", format="litert")
interpreter = Interpreter(str(folder / "model.tflite"))
encode = interpreter.get_signature_runner("encode")
(name,) = encode.get_input_details()
starts = range(0, len(images), 64)
batches = [next(iter(encode(**{name: images[start : start + 64]}).values())) for start in starts]
found = np.concatenate(batches)
print(f"{100 * np.mean(found == codes):.2f} % of the codes agree")

# %% [markdown]
# ## SavedModel for TensorFlow Serving

# %%
import tensorflow as tf

version = model.export(folder / "saved_model", format="tf_saved_model")
loaded = tf.saved_model.load(str(version))
found = next(iter(loaded.signatures["encode"](tf.constant(images)).values())).numpy()
print(f"{100 * np.mean(found == codes):.2f} % of the codes agree")

# %% [markdown]
# Sizes of the files in kilobytes:

# %%
for path in sorted(folder.rglob("*")):
    if path.is_file() and path.stat().st_size > 10_000:
        print(f"{path.stat().st_size // 1000:6,}  {path.relative_to(folder)}")
