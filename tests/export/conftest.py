"""What programs that know nothing of Keras need is there, or these tests are left out."""

import pytest

from keras_vq.export.errors import is_missing
from tests.export.models import MODELS

_NEEDED = (
    "tensorflow",
    "tensorflow_serving",
    "ai_edge_litert",
    "ai_edge_quantizer",
    "onnx",
    "onnxruntime",
    "openvino",
    "tf2onnx",
)

collect_ignore_glob = ["test_*.py"] if any(is_missing(package) for package in _NEEDED) else []


@pytest.fixture(scope="session")
def model():
    """A function that gives the model of a name, made once."""
    made = {}

    def of_name(name="vqvae"):
        if name not in made:
            made[name] = MODELS[name]()
        return made[name]

    return of_name
