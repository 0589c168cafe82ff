"""Export of models to SavedModel, LiteRT, ONNX and OpenVINO."""

from keras_vq.export.errors import ExportError
from keras_vq.export.formats import FORMATS, PRECISIONS, export_model
from keras_vq.export.rounding import round_convolutions
from keras_vq.export.signatures import Signature, TensorSpec
from keras_vq.export.verify import Report, verify, write_report

__all__ = [
    "FORMATS",
    "PRECISIONS",
    "ExportError",
    "Report",
    "Signature",
    "TensorSpec",
    "export_model",
    "round_convolutions",
    "verify",
    "write_report",
]
