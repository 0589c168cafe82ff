"""Picture of the gradients around a quantizer, for docs/guides/quantizer_in_your_model.md.

The arrows are measured: Nine trainable vectors of two dimensions pass through a `VectorQuantizer`
with three codes, and each panel shows the change of one step of gradient descent or of one EMA
update.

Run: python docs/gradient_flow.py
"""

from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_vq

_TARGET = Path(__file__).parent / "guides" / "gradient_flow.png"
_CODES = np.array([[-1.1, -0.7], [1.1, -0.6], [0.0, 0.9]], "float32")
# Vectors relative to their code vectors, and the steps that improve the reconstruction of each.
_OFFSETS = np.array(
    [
        *[(-0.35, 0.75), (0.5, 0.45), (-0.6, 0.1)],
        *[(-0.75, -0.1), (0.1, -0.65), (-0.45, 0.45)],
        *[(0.8, 0.25), (-0.25, 0.6), (0.7, -0.3)],
    ],
    "float32",
)
_WANTED = np.array(
    [
        *[(0.0, -0.6), (0.55, -0.25), (-0.5, 0.1)],
        *[(0.2, -0.5), (0.55, 0.1), (0.3, 0.5)],
        *[(0.1, 0.55), (-0.6, 0.1), (0.25, -0.5)],
    ],
    "float32",
)
_COLORS = ("tab:blue", "tab:orange", "tab:green")


@keras.saving.register_keras_serializable("docs")
class Vectors(keras.layers.Layer):
    """Trainable vectors in place of an encoder, so that a step shows their gradient."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Adds the vectors as a weight."""
        self.vectors = self.add_weight(shape=input_shape, name="vectors")

    def call(self, inputs: object) -> object:
        """Returns the vectors and ignores the inputs."""
        del inputs
        return keras.ops.convert_to_tensor(self.vectors)


def step(
    vectors: np.ndarray, targets: np.ndarray, commitment_weight: float, reconstruction: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Runs one step of gradient descent and returns the changes of vectors and code vectors."""
    codebook = keras_vq.EMACodebook(3, decay=0.2)
    quantizer = keras_vq.VectorQuantizer(codebook=codebook, commitment_weight=commitment_weight)
    quantizer.set_embeddings(_CODES)
    inputs = keras.Input(batch_shape=vectors.shape)
    layer = Vectors()
    quantized, _ = quantizer(layer(inputs))
    model = keras.Model(inputs, quantized)
    layer.vectors.assign(vectors)
    # A sum over the vectors, so that each has the gradient of its own error.
    loss = "mse" if reconstruction else (lambda y, y_pred: 0.0 * keras.ops.sum(y_pred))
    model.compile(keras.optimizers.SGD(float(vectors.size) * 0.5), loss)
    model.fit(vectors, targets, batch_size=len(vectors), shuffle=False, verbose=0)
    moved = keras.ops.convert_to_numpy(layer.vectors) - vectors
    return moved, keras.ops.convert_to_numpy(quantizer.code_vectors()) - _CODES


def arrows(axes: object, start: np.ndarray, change: np.ndarray, colors: list[str], **look) -> None:
    """Draws arrows from points along their changes."""
    axes.quiver(
        *start.T,
        *change.T,
        color=colors,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.006,
        zorder=4,
        **look,
    )


def main() -> None:
    """Measures the changes and writes the picture."""
    vectors = np.repeat(_CODES, 3, axis=0) + _OFFSETS
    nearest = np.square(vectors[:, None] - _CODES).sum(-1).argmin(1)
    # In place of a decoder: the quantized vectors that give a perfect reconstruction.
    targets = _CODES[nearest] + _WANTED
    colors = [_COLORS[code] for code in nearest]

    copied, _ = step(vectors, targets, 0.0, reconstruction=True)
    committed, _ = step(vectors, targets, 1.0, reconstruction=False)
    _, updated = step(vectors, targets, 0.0, reconstruction=False)

    figure = Figure(figsize=(11, 4.6), dpi=130, layout="constrained")
    panels = figure.subplots(1, 3)
    titles = (
        "1. Reconstruction loss\nThe gradient at the code vector (gray)\n"
        "is copied to the vector (color).",
        "2. Commitment loss\nEach vector moves to its code vector.\n ",
        "3. Codebook update\nEach code vector moves to the mean\nof its vectors.",
    )
    for axes, title in zip(panels, titles, strict=True):
        axes.scatter(*vectors.T, c=colors, s=28, zorder=3)
        axes.scatter(*_CODES.T, c=_COLORS, s=190, marker="*", edgecolors="black", zorder=5)
        axes.set_title(title, fontsize=10)
        axes.set(xlim=(-2.4, 2.1), ylim=(-1.7, 1.9), xticks=[], yticks=[])
    arrows(panels[0], _CODES[nearest], copied, ["0.65"] * 9)
    arrows(panels[0], vectors, copied, colors)
    arrows(panels[1], vectors, committed, colors)
    arrows(panels[2], _CODES, updated, list(_COLORS))
    panels[0].scatter([], [], c="0.4", s=28, label="vector (encoder output)")
    panels[0].scatter([], [], c="0.8", s=190, marker="*", ec="black", label="code vector")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(_TARGET, facecolor="white")
    print(_TARGET)


if __name__ == "__main__":
    main()
