"""Tests of the layers of networks for sound, against those of transformers."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq.layers import ConvolutionPadding1D, LoudnessNormalization, Snake
from tests.needed import needed

needed("torch", "transformers")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from transformers import EncodecConfig
    from transformers.models.dac.modeling_dac import Snake1d
    from transformers.models.encodec.modeling_encodec import EncodecConv1d

NOISE = np.random.default_rng(0).normal(size=(2, 50, 3)).astype("float32")


def channels_first(array):
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 2, 1)))


def test_snake():
    theirs = Snake1d(3)
    alpha = np.array([0.5, 1.0, 2.5], "float32")
    with torch.no_grad():
        theirs.alpha.copy_(torch.from_numpy(alpha)[None, :, None])
        expected = theirs(channels_first(NOISE)).numpy().transpose(0, 2, 1)
    snake = Snake()
    snake.build(NOISE.shape)
    snake.alpha.assign(alpha)
    np.testing.assert_allclose(ops.convert_to_numpy(snake(NOISE)), expected, atol=1e-6)


# (kernel size, strides, dilation, steps); reflections are longer than the shortest sequences.
WINDOWS = [(7, 1, 1, 50), (3, 1, 4, 50), (10, 5, 1, 48), (4, 4, 1, 49), (7, 1, 1, 4), (8, 4, 1, 1)]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize(("kernel_size", "strides", "dilation", "steps"), WINDOWS)
def test_padded_convolutions(kernel_size, strides, dilation, steps, mode, causal):
    config = EncodecConfig(use_causal_conv=causal, pad_mode=mode, norm_type="time_group_norm")
    theirs = EncodecConv1d(config, 3, 4, kernel_size, strides, dilation)
    theirs.norm = torch.nn.Identity()
    sequences = NOISE[:, :steps]
    with torch.no_grad():
        expected = theirs(channels_first(sequences)).numpy().transpose(0, 2, 1)
    padding = ConvolutionPadding1D(kernel_size, strides, dilation, causal, mode)
    kernel = theirs.conv.weight.detach().numpy().transpose(2, 1, 0)
    bias = theirs.conv.bias.detach().numpy()
    # The second form is that of graphs in which the number of steps is unknown.
    for padded in (padding(sequences), padding._padded_any(ops.convert_to_tensor(sequences))):
        assert tuple(padded.shape) == padding.compute_output_shape(sequences.shape)
        made = ops.conv(padded, kernel, strides, "valid", "channels_last", dilation)
        np.testing.assert_allclose(ops.convert_to_numpy(made) + bias, expected, atol=2e-6)
        assert made.shape[1] == -(-steps // strides)


def test_padding_of_unknown_sizes():
    layer = ConvolutionPadding1D(4, 2)
    assert layer.compute_output_shape((None, None, 3)) == (None, None, 3)
    assert layer(keras.KerasTensor((None, None, 3))).shape == (None, None, 3)
    with pytest.raises(ValueError, match=r"`strides` must be at most the extent of the kernel"):
        ConvolutionPadding1D(2, 3)
    with pytest.raises(ValueError, match=r"`mode`.*'zero'"):
        ConvolutionPadding1D(2, mode="zero")


def test_loudness():
    sounds = NOISE * np.array([0.01, 3.0], "float32")[:, None, None]
    sounds = np.concatenate([sounds, np.zeros_like(sounds[:1])])
    layer = LoudnessNormalization()
    # The loudness of EnCodec, `EncodecModel._encode_frame`.
    loudness = np.sqrt((sounds.mean(-1) ** 2).mean(-1)) + 1e-8
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer.loudness(sounds))[:, 0, 0], loudness, rtol=1e-5
    )
    once = ops.convert_to_numpy(layer(sounds))
    np.testing.assert_allclose(once, sounds / loudness[:, None, None], rtol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(once)), once, rtol=1e-5)


ENCODEC = {"filters": 4, "latent_dim": 6, "strides": (2, 3)}
DAC = {"filters": 4, "decoder_filters": 16, "strides": (2, 3)}
NETWORKS = {
    "encodec": (keras_vq.networks.encodec, {**ENCODEC, "padding_mode": "constant"}),
    "encodec_stereo": (
        keras_vq.networks.encodec,
        {
            **ENCODEC,
            "causal": False,
            "group_normalization": True,
            "loudness_normalization": True,
            "block_convolution": False,
            "blocks": 2,
        },
    ),
    "dac": (keras_vq.networks.dac, DAC),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_sound(name):
    build, arguments = NETWORKS[name]
    with pytest.raises(keras_vq.networks.IndivisibleSizeError, match=r"divisible by 6.*61"):
        build((61, 3), **arguments)
    latent_dim = arguments.get("latent_dim", 16)
    fixed = build((48, 3), **arguments)
    assert fixed.encoder.output_shape == (None, 8, latent_dim)
    assert fixed.decoder.output_shape == (None, 48, 3)
    encoder, decoder = build((None, 3), **arguments)
    assert decoder.output_shape == (None, None, 3)
    latents = encoder(NOISE[:, :46])
    assert tuple(latents.shape) == (2, 8, latent_dim)
    assert tuple(decoder(latents).shape) == (2, 48, 3)
    # Causal networks: earlier frames do not depend on later samples.
    changed = NOISE[:, :46].copy()
    changed[:, 30:] = 0
    same = np.isclose(
        ops.convert_to_numpy(latents)[:, :5], ops.convert_to_numpy(encoder(changed))[:, :5]
    )
    assert same.all() == (name == "encodec")


def test_arguments_of_networks_are_checked():
    with pytest.raises(ValueError, match=r"`decoder_filters` must be a multiple of 4"):
        keras_vq.networks.dac((48, 1), **{**DAC, "decoder_filters": 18})
    with pytest.raises(ValueError, match="`lstm_layers`"):
        keras_vq.networks.encodec(lstm_layers=0)
    with pytest.raises(ValueError, match="`sequence_shape` must be"):
        keras_vq.networks.encodec((48,))
