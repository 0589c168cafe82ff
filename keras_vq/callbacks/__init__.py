"""Callbacks for monitoring codebooks and drawing images during `fit`."""

from keras_vq.callbacks.codebook_monitor import CodebookMonitor, CollapseWarning
from keras_vq.callbacks.image_grids import ReconstructionGrid, SampleGrid

__all__ = ["CodebookMonitor", "CollapseWarning", "ReconstructionGrid", "SampleGrid"]
