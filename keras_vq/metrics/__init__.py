"""Metrics of reconstructions and of codebooks."""

from keras_vq.metrics.code_usage import CodebookUsage, Perplexity
from keras_vq.metrics.psnr import PSNR

__all__ = ["PSNR", "CodebookUsage", "Perplexity"]
