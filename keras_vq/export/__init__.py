"""Models as files that other programs run: SavedModel, LiteRT, ONNX, OpenVINO."""

from keras_vq.export.errors import ExportError
from keras_vq.export.formats import FORMATS, PRECISIONS, export_model
from keras_vq.export.signatures import Signature, TensorSpec

__all__ = ["FORMATS", "PRECISIONS", "ExportError", "Signature", "TensorSpec", "export_model"]
