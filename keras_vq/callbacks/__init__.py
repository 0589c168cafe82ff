"""Callbacks for `fit`."""

from keras_vq.callbacks.codebook_monitor import CodebookMonitor

__all__ = ["CodebookMonitor"]
