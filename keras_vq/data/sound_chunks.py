"""Chunks of long sound."""

from typing import Any

import numpy as np

from keras_vq import _validation

# Keeps the loudness of silence above 0, as in `layers.LoudnessNormalization`.
_EPSILON = 1e-8


class SoundChunks:
    """Division of long sound into chunks that overlap, and their reassembly by cross-fades.

    The codecs of sound that normalize the loudness of chunks, such as EnCodec at 48 kHz, encode
    them one by one. Where chunks overlap, their weights rise and fall linearly. Source: Défossez et
    al., "High Fidelity Neural Audio Compression" (EnCodec), 2022, section 3.4.

    Args:
        samples: Integer. Number of samples of a chunk.
        overlap: Float in [0, 1). Part of a chunk that overlaps with the next one. Defaults to 0.01.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np, keras_vq
        >>> sound = np.random.default_rng(0).uniform(-1, 1, (2500, 2)).astype("float32")
        >>> chunks = keras_vq.data.SoundChunks(1000, overlap=0.1)
        >>> pieces, loudness = chunks.split(sound)
        >>> pieces.shape, loudness.shape
        ((3, 1000, 2), (3,))
        >>> restored = chunks.join(pieces, samples=2500)
        >>> bool(np.allclose(restored, sound, atol=1e-6))
        True
    """

    def __init__(self, samples: int, overlap: float = 0.01) -> None:
        self.samples = _validation.check_positive_integer("samples", samples)
        self.overlap = _validation.check_fraction("overlap", overlap)
        self.stride = max(1, int((1.0 - self.overlap) * self.samples))

    def split(self, sound: Any) -> tuple[np.ndarray, np.ndarray]:
        """Splits sound into chunks, of which the last ones are padded with zeros.

        Args:
            sound: Array of shape `(samples, channels)`.

        Returns:
            A tuple of chunks, float32 of shape `(n, chunk_samples, channels)`, which are not
            normalized, and the loudness of each, float32 of shape `(n,)`: the root mean square of
            the mean of its channels.

        Raises:
            ValueError: If the sound has another shape.
        """
        sound = np.asarray(sound, "float32")
        if sound.ndim != 2 or not sound.size:
            raise ValueError(
                "`sound` must have the shape (samples, channels). Add an axis to mono sound. "
                f"Received: shape {sound.shape}"
            )
        starts = range(0, len(sound), self.stride)
        padded = np.pad(sound, [(0, starts[-1] + self.samples - len(sound)), (0, 0)])
        chunks = np.stack([padded[start : start + self.samples] for start in starts])
        loudness = np.sqrt(np.square(chunks.mean(axis=-1)).mean(axis=-1)) + _EPSILON
        return chunks, loudness

    def join(self, chunks: Any, loudness: Any = None, samples: int | None = None) -> np.ndarray:
        """Joins chunks, such as outputs of `model.decode`, to one sound.

        Args:
            chunks: Array of shape `(n, chunk_samples, channels)`.
            loudness: Array of shape `(n,)`, by which chunks are multiplied. Defaults to `None`, for
                chunks that are not normalized.
            samples: Integer. Number of samples of the sound. Defaults to `None`, for all samples,
                with the padding.

        Returns:
            Float32 array of shape `(samples, channels)`.

        Raises:
            ValueError: If the chunks have another shape.
        """
        chunks = np.asarray(chunks, "float32")
        if chunks.ndim != 3 or chunks.shape[1] != self.samples or not chunks.size:
            raise ValueError(
                f"`chunks` must have the shape (n, {self.samples}, channels). "
                f"Received: shape {chunks.shape}"
            )
        if loudness is not None:
            chunks = chunks * np.asarray(loudness, "float32").reshape(-1, 1, 1)
        # From 0 to 1/2 and back, without the ends.
        times = np.linspace(0.0, 1.0, self.samples + 2)[1:-1]
        weights = (0.5 - np.abs(times - 0.5))[:, None]
        length = (len(chunks) - 1) * self.stride + self.samples
        total, sums = np.zeros((length, chunks.shape[-1])), np.zeros((length, 1))
        for place, chunk in enumerate(chunks):
            covered = slice(place * self.stride, place * self.stride + self.samples)
            total[covered] += weights * chunk
            sums[covered] += weights
        return (total / sums)[:samples].astype("float32")
