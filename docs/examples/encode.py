"""Images to codes and back in Python without Keras: pip install onnxruntime numpy.

python encode.py codec/ images.npy

codec/ is what `keras-vq export RUN --format onnx --out codec` wrote; images.npy holds float32
pixels in [0, 1], of shape (n, height, width, channels).
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, images_file = Path(sys.argv[1]), sys.argv[2]
encode = onnxruntime.InferenceSession(folder / "encode.onnx")
decode = onnxruntime.InferenceSession(folder / "decode.onnx")

images = np.load(images_file)
(codes,) = encode.run(None, {"inputs": images})
(made,) = decode.run(None, {encode.get_outputs()[0].name: codes})
print(f"{encode.get_outputs()[0].name} of shape {codes.shape} and type {codes.dtype}")
print(f"mean squared error {np.mean((images - made) ** 2):.5f}")
