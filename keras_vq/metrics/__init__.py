"""Metrics of reconstructions and of codebooks."""

from keras_vq.metrics.code_usage import CodebookUsage, Perplexity
from keras_vq.metrics.psnr import PSNR
from keras_vq.metrics.ssim import SSIM

__all__ = ["PSNR", "SSIM", "CodebookUsage", "Perplexity"]
