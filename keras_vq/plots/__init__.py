"""Plots of reconstructions, samples, latent spaces, codebook usage and training curves.

Functions import Matplotlib on first use, to keep the import of keras_vq fast.
"""

from keras_vq.plots.curves import (
    plot_codebook_usage,
    plot_histories,
    plot_history,
    plot_latent_space,
)
from keras_vq.plots.images import plot_reconstructions, plot_rows, plot_samples, plot_traversal

__all__ = [
    "plot_codebook_usage",
    "plot_histories",
    "plot_history",
    "plot_latent_space",
    "plot_reconstructions",
    "plot_rows",
    "plot_samples",
    "plot_traversal",
]
