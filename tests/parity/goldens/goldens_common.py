"""Helpers for golden arrays: random data, and reference computations in float64 NumPy."""

import numpy as np

N, D, K = 256, 8, 32  # batch size, dimension, codebook size
POPULAR = 20  # number of code vectors near which inputs are drawn
GAP = 1e-3  # minimum gap of the squared distances to the two nearest code vectors
GRID = 256.0  # random numbers are multiples of 1 / GRID, which compress better
TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-7


# Data ---------------------------------------------------------------------------------------------


def on_grid(array):
    return (np.round(array * GRID) / GRID).astype("float32")


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class Source:
    """Random source of code vectors, and of inputs that choose them often, rarely or never.

    Inputs with nearly equal distances to two code vectors are dropped, so that rounding can't
    change their index on other backends.
    """

    def __init__(self, rng):
        self.rng = rng
        # Away from the origin, where unused code vectors of Sonnet go, so that some stay unused.
        self.codes = on_grid(rng.normal(loc=1.0, size=(K, D)))  # (K, D)
        self.centres = self.codes[:POPULAR] + rng.normal(scale=0.4, size=(POPULAR, D))
        weights = 0.85 ** np.arange(POPULAR)
        self.weights = weights / weights.sum()

    def inputs(self, codes, cosine=False):
        """Draws (N, D) inputs with an unambiguous nearest code in `codes`, (K, D)."""
        picks = self.rng.choice(POPULAR, size=4 * N, p=self.weights)
        drawn = on_grid(self.centres[picks] + self.rng.normal(scale=0.5, size=(4 * N, D)))
        # Equal code vectors (unused ones of Sonnet are 0) are exact ties; the lowest index wins.
        nearest_two = np.sort(distances(unit(drawn) if cosine else drawn, np.unique(codes, axis=0)))
        clear = drawn[nearest_two[:, 1] - nearest_two[:, 0] > GAP]
        assert len(clear) >= N
        return clear[:N]

    def draw(self, rows, draw, is_clear):
        """Draws rows by `draw(n)`, (n, ...), until `rows` of them satisfy `is_clear`, (n,)."""
        kept = []
        while sum(map(len, kept)) < rows:
            drawn = draw(rows)
            kept.append(drawn[is_clear(drawn)])
        return np.concatenate(kept)[:rows]

    def upstream(self, *shape):
        return on_grid(self.rng.normal(scale=0.02, size=shape))


def stack(steps):
    """Stacks dicts of steps into one dict of arrays with a leading step axis."""
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


# Reference computations in float64 NumPy ----------------------------------------------------------


def check(golden, name, expected, relative=0.0):
    """Compares an array with its reference, with a smaller tolerance for gradients."""
    bound = GRADIENT_TOLERANCE if name.endswith("gradients") else TOLERANCE
    np.testing.assert_allclose(golden[name], expected, rtol=relative, atol=bound, err_msg=name)


def check_all(golden, expected, prefix="", relative=0.0):
    for name, value in expected.items():
        check(golden, prefix + name, value, relative)


def prefixed(prefix, arrays):
    return {prefix + name: array for name, array in arrays.items()}


def distances(inputs, codes):
    """Computes squared distances, (N, D) and (K, D) -> (N, K)."""
    return np.sum((inputs[:, None].astype("float64") - codes[None]) ** 2, axis=-1)


def nearest(inputs, codes):
    return distances(inputs, codes).argmin(axis=1)


def counts_and_sums(inputs, indices, size):
    one_hot = np.eye(size)[indices]  # (N, K)
    return one_hot.sum(axis=0), one_hot.T @ inputs.astype("float64")


def is_clear(inputs, codes):
    """Returns whether the nearest code is unambiguous, (N, D) and (K, D) -> (N,)."""
    nearest_two = np.sort(distances(inputs, codes))
    return nearest_two[:, 1] - nearest_two[:, 0] > GAP


def unit_gradients(vectors, gradients):
    """Computes gradients of the vectors from gradients of the normalized vectors."""
    normal = unit(vectors)
    along = np.sum(gradients * normal, axis=-1, keepdims=True)
    return (gradients - along * normal) / np.linalg.norm(vectors, axis=-1, keepdims=True)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def softmax_gradients(probabilities, gradients):
    """Computes gradients of logits from gradients of probabilities."""
    mean = np.sum(probabilities * gradients, axis=-1, keepdims=True)
    return probabilities * (gradients - mean)


def entropy(probabilities, floor):
    """Computes the entropy in nats over the last axis; the floor applies in the logarithm only."""
    return -np.sum(probabilities * np.log(np.maximum(probabilities, floor)), axis=-1)


def entropy_gradients(probabilities, floor):
    return -np.log(np.maximum(probabilities, floor)) - (probabilities > floor)


def perplexity(indices):
    used = np.bincount(indices, minlength=K) / len(indices)
    return np.exp(-np.sum(used * np.log(used + 1e-10)))


def rotation_gradients(sources, targets, upstream):
    """Computes the gradient of sum(rotation_trick(sources, targets) * upstream) for sources."""

    def normalised(rows):
        return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-6)

    def dot(a, b):
        return np.sum(a * b, axis=-1, keepdims=True)

    sources, targets = sources.astype("float64"), targets.astype("float64")
    x, q = normalised(sources), normalised(targets)
    w = normalised(x + q)
    scale = np.linalg.norm(targets, axis=-1, keepdims=True) / np.linalg.norm(
        sources, axis=-1, keepdims=True
    )
    return scale * (upstream - 2.0 * dot(upstream, w) * w + 2.0 * dot(upstream, q) * x)
