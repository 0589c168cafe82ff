"""Metrics of reconstructions, generated images and codebook usage."""

from keras_vq.metrics.code_usage import CodebookUsage, Perplexity
from keras_vq.metrics.compare_images import compare_images
from keras_vq.metrics.frechet_distance import frechet_distance
from keras_vq.metrics.image_features import image_features
from keras_vq.metrics.kernel_distance import kernel_distance
from keras_vq.metrics.precision_recall import precision_recall
from keras_vq.metrics.psnr import PSNR
from keras_vq.metrics.ssim import SSIM

__all__ = [
    "PSNR",
    "SSIM",
    "CodebookUsage",
    "Perplexity",
    "compare_images",
    "frechet_distance",
    "image_features",
    "kernel_distance",
    "precision_recall",
]
