"""Tests of chunks of sound against those of EnCodec in transformers."""

import warnings

import numpy as np
import pytest

from keras_vq.data import SoundChunks
from keras_vq.layers import LoudnessNormalization
from tests.needed import needed

needed("torch", "transformers")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from transformers import EncodecConfig, EncodecModel

pytestmark = pytest.mark.backend_free


def noise(samples, channels=2):
    return np.random.default_rng(0).uniform(-1, 1, (samples, channels)).astype("float32")


@pytest.mark.parametrize("overlap", [0.0, 0.01, 0.3, 0.6])
@pytest.mark.parametrize("samples", [1, 100, 137, 400])
def test_chunks_are_those_of_encodec(samples, overlap):
    chunks = SoundChunks(100, overlap)
    config = EncodecConfig(sampling_rate=100, chunk_length_s=1.0, overlap=overlap)
    assert chunks.stride == config.chunk_stride
    sound = noise(samples)
    pieces, loudness = chunks.split(sound)
    assert pieces.shape == (-(-samples // config.chunk_stride), 100, 2)
    frames = [torch.from_numpy(piece.T.copy())[None] for piece in pieces]
    joined = EncodecModel._linear_overlap_add(frames, config.chunk_stride)[0].numpy().T
    np.testing.assert_allclose(chunks.join(pieces), joined, atol=1e-5)
    np.testing.assert_allclose(chunks.join(pieces, samples=samples), sound, atol=1e-6)
    normalized = pieces / loudness[:, None, None]
    np.testing.assert_allclose(chunks.join(normalized, loudness, samples), sound, atol=1e-5)
    layer = LoudnessNormalization()
    np.testing.assert_allclose(np.asarray(layer.loudness(pieces))[:, 0, 0], loudness, rtol=1e-5)


def test_shapes_are_checked():
    chunks = SoundChunks(100)
    with pytest.raises(ValueError, match=r"`sound` must have the shape.*Received: shape \(50,\)"):
        chunks.split(np.zeros(50))
    with pytest.raises(ValueError, match=r"`chunks` must have the shape \(n, 100, channels\)"):
        chunks.join(np.zeros((3, 90, 1)))
    with pytest.raises(ValueError, match="`overlap`"):
        SoundChunks(100, 1.0)
