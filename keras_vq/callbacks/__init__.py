"""Callbacks for monitoring codebooks, drawing images and changing hyperparameters in `fit`."""

from keras_vq.callbacks.codebook_monitor import CodebookMonitor, CollapseWarning
from keras_vq.callbacks.image_grids import ReconstructionGrid, SampleGrid
from keras_vq.callbacks.schedules import CyclicalSchedule, HyperparameterSchedule, LinearSchedule

__all__ = [
    "CodebookMonitor",
    "CollapseWarning",
    "CyclicalSchedule",
    "HyperparameterSchedule",
    "LinearSchedule",
    "ReconstructionGrid",
    "SampleGrid",
]
