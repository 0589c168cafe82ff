"""Layers of autoencoders and priors, other than quantizers."""

from keras_vq.layers.code_embedding import CodeEmbedding
from keras_vq.layers.conv2d_transpose import Conv2DTranspose
from keras_vq.layers.convolution_padding_1d import ConvolutionPadding1D
from keras_vq.layers.edge_padding import EdgePadding
from keras_vq.layers.gated_masked_convolution import GatedMaskedConvolution
from keras_vq.layers.gaussian_sampling import GaussianSampling
from keras_vq.layers.grid_positions import GridPositions
from keras_vq.layers.implicit_neural_codebook import ImplicitNeuralCodebook
from keras_vq.layers.log_scale import LogScale
from keras_vq.layers.loudness_normalization import LoudnessNormalization
from keras_vq.layers.post_activation_block import PostActivationBlock
from keras_vq.layers.residual_stack import ResidualStack
from keras_vq.layers.resnet_block_2d import ResNetBlock2D
from keras_vq.layers.self_attention_2d import SelfAttention2D
from keras_vq.layers.sequence_patches import EndMasking, PatchSteps, SequencePatches
from keras_vq.layers.snake import Snake
from keras_vq.layers.straight_through_clip import StraightThroughClip
from keras_vq.layers.transformer_block import TransformerBlock

__all__ = [
    "CodeEmbedding",
    "Conv2DTranspose",
    "ConvolutionPadding1D",
    "EdgePadding",
    "EndMasking",
    "GatedMaskedConvolution",
    "GaussianSampling",
    "GridPositions",
    "ImplicitNeuralCodebook",
    "LogScale",
    "LoudnessNormalization",
    "PatchSteps",
    "PostActivationBlock",
    "ResNetBlock2D",
    "ResidualStack",
    "SelfAttention2D",
    "SequencePatches",
    "Snake",
    "StraightThroughClip",
    "TransformerBlock",
]
