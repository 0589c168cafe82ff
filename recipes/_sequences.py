"""Three sequence data sets built from the Python installation, without downloads."""

import re
from pydoc_data.topics import topics

import numpy as np

# Most frequent characters; all others map to the last one.
LETTERS = "\n" + " etaoinsrlhdcumfpgybwvkxqjz.,'\"()-_:;=*[]0123456789/`{}<>+!?&|^%@"
TEXT_LENGTH = 64
AUDIO_RATE = 8000
AUDIO_LENGTH = 1024
SERIES_LENGTH = 96


def text(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns passages of the Python documentation, 24 to 64 characters of whole words each.

    Returns:
        One-hot characters, float32 `(n, 64, characters)`, zero-padded at the end, and the lengths.
    """
    # Topics repeat paragraphs. Each is used once, so that no test passage is a training passage.
    paragraphs = re.split(r"\n\s*\n", "\n\n".join(topics[name] for name in sorted(topics)).lower())
    words = " ".join(dict.fromkeys(" ".join(part.split()) for part in paragraphs)).split()
    rng = np.random.default_rng(seed)
    pieces, piece, limit = [], "", TEXT_LENGTH
    for word in words:
        if len(piece) + 1 + len(word) > limit and piece:
            pieces.append(piece)
            piece, limit = "", int(rng.integers(24, TEXT_LENGTH + 1))
        piece = f"{piece} {word}".strip()[:TEXT_LENGTH]
    rng.shuffle(pieces)
    lengths = np.array([len(piece) for piece in pieces])
    place = {letter: index for index, letter in enumerate(LETTERS)}
    one_hot = np.zeros((len(pieces), TEXT_LENGTH, len(LETTERS)), "float32")
    for row, piece in enumerate(pieces):
        indices = [place.get(letter, len(LETTERS) - 1) for letter in piece]
        one_hot[row, np.arange(len(piece)), indices] = 1.0
    return one_hot, lengths


def plucked_strings(n: int, seed: int) -> np.ndarray:
    """Synthesizes pairs of plucked-string notes of 80 to 600 Hz, 128 ms at 8 kHz.

    Source: Karplus and Strong, "Digital Synthesis of Plucked-String and Drum
    Timbres", 1983.

    Returns:
        Waveforms in [-1, 1], float32 `(n, 1024, 1)`.
    """
    rng = np.random.default_rng(seed)
    waves = np.zeros((n, AUDIO_LENGTH))
    for _ in range(2):
        periods = (AUDIO_RATE / rng.uniform(80, 600, n)).astype(int)
        for row, period in enumerate(periods):
            # Twice the required length: a note may start before the window.
            string = np.empty(2 * AUDIO_LENGTH)
            string[: period + 1] = rng.uniform(-1, 1, period + 1)
            for start in range(period + 1, len(string), period):
                last = string[start - period - 1 : start]
                mean = 0.498 * (last[1:] + last[:-1])
                string[start : start + period] = mean[: len(string) - start]
            first = rng.integers(0, AUDIO_LENGTH)
            waves[row] += string[first : first + AUDIO_LENGTH] * rng.uniform(0.3, 1.0)
    return (waves / np.abs(waves).max(axis=1, keepdims=True)).astype("float32")[..., None]


def oscillations(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generates damped oscillations of two coupled channels with noise, 32 to 96 steps long.

    Returns:
        Float32 `(n, 96, 2)`, zero-padded at the end, and the lengths.
    """
    rng = np.random.default_rng(seed)
    steps = np.arange(SERIES_LENGTH)
    series = np.zeros((n, SERIES_LENGTH, 2))
    for _ in range(3):
        frequency, phase = rng.uniform(0.02, 0.2, (n, 1)), rng.uniform(0, 2 * np.pi, (n, 1))
        lag, damping = rng.uniform(0, np.pi, (n, 1)), rng.uniform(0, 0.03, (n, 1))
        height = rng.uniform(0.3, 1.0, (n, 1)) * np.exp(-damping * steps)
        angle = 2 * np.pi * frequency * steps + phase
        series += np.stack([height * np.sin(angle), height * np.sin(angle - lag)], axis=-1)
    series += 0.02 * rng.standard_normal(series.shape)
    lengths = rng.integers(32, SERIES_LENGTH + 1, n)
    series[steps >= lengths[:, None]] = 0.0
    return series.astype("float32"), lengths
