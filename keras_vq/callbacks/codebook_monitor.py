"""Callback that logs codebook usage and warns of codebook collapse."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation, backend
from keras_vq import ops as vq_ops
from keras_vq.codebooks.base import Codebook
from keras_vq.plots import plot_codebook_usage
from keras_vq.quantizers.base import Quantizer

# Usage relative to the mean usage at or below which a code is dead.
_DEAD = 0.01
# Smallest codebook size for warnings of collapse.
_FEWEST_CODES = 8


class CollapseWarning(UserWarning):
    """Warning of codebook collapse: few codes of a codebook are used.

    Example:
        >>> import warnings, keras_vq
        >>> # Stop such a run:
        >>> warnings.simplefilter("error", keras_vq.callbacks.CollapseWarning)
    """


class CodebookMonitor(keras.callbacks.Callback):
    """Callback that logs the usage of each codebook after each epoch and warns of collapse.

    For a model with one codebook, it adds to the logs:

    - `codes_in_use`: fraction of codes that are not dead, in [0, 1].
    - `codes_perplexity`: perplexity of the usage, in [1, codebook_size].
    - `codes_dead`: number of dead codes, whose usage is at most 1 % of the mean usage.
    - `codes_norm_spread`: standard deviation of the norms of code vectors divided by their mean.

    For a model with several codebooks, such as the stages of `ResidualQuantizer`, the names have
    the prefixes `stage_0_`, `stage_1_` and so on.

    By default, usage is the moving average of counts that codebooks keep during training. With
    `inputs`, usage is counted on the codes of the inputs. This also works for quantizers without a
    codebook, such as `FiniteScalarQuantizer`, which have no `codes_norm_spread`.

    When the perplexity of a codebook stays below a fraction of its size, the callback issues a
    `CollapseWarning` with suggestions. It repeats the warning only after the codebook recovered.
    Codebooks of fewer than 8 codes cause no warnings.

    Args:
        inputs: Array of inputs on which to count codes, for a model with `encode`.
            Defaults to None, which uses the moving averages.
        filepath: Path of a histogram of the usage, written after each epoch, such as
            `"usage-{epoch:03d}.png"`. Defaults to None.
        collapse: Float in [0, 1). Ratio of perplexity to codebook size below which a codebook
            counts as collapsed. Defaults to 0.1.
        patience: Integer. Number of consecutive epochs of collapse before the warning. Defaults to
            1.

    Raises:
        ValueError: If an argument is out of range, or the model has no quantizers.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
        >>> model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(4), decoder)
        >>> model.compile("adam")
        >>> history = model.fit(
        ...     images, verbose=0, callbacks=[keras_vq.callbacks.CodebookMonitor()]
        ... )
        >>> [name for name in history.history if name.startswith("codes_")]
        ['codes_in_use', 'codes_perplexity', 'codes_dead', 'codes_norm_spread']
    """

    def __init__(
        self,
        inputs: Any = None,
        filepath: str | os.PathLike[str] | None = None,
        collapse: float = 0.1,
        patience: int = 1,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.filepath = None if filepath is None else str(filepath)
        self.collapse = _validation.check_fraction("collapse", collapse)
        self.patience = _validation.check_positive_integer("patience", patience)

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks that the model has quantizers."""
        del logs
        self.collapsed_epochs: dict[str, int] = {}
        quantizers = [
            layer for layer in backend.nested_layers(self.model) if isinstance(layer, Quantizer)
        ]
        if not quantizers or (self.inputs is not None and not hasattr(self.model, "_quantizers")):
            raise ValueError(
                "The model of a CodebookMonitor must have quantizers (with `inputs`, it must be a "
                "VQVAE, VQGAN or VQVAE2). "
                f"Received: {type(self.model).__name__} with {len(quantizers)} quantizers"
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Updates the logs, writes the histogram, and warns of collapse."""
        codebooks = [
            layer
            for layer in backend.nested_layers(self.model)
            if isinstance(layer, Codebook) and layer.built
        ]
        counts = self._counted() if self.inputs is not None else None
        if counts is None:
            counts = [ops.convert_to_numpy(codebook.recent_counts()) for codebook in codebooks]
        if not counts:
            return
        for stage, own in enumerate(counts):
            prefix = f"stage_{stage}_" if len(counts) > 1 else ""
            codebook = codebooks[stage] if len(codebooks) == len(counts) else None
            figures = _figures(own, codebook)
            if isinstance(logs, dict):
                logs.update({f"{prefix}codes_{name}": value for name, value in figures.items()})
            self._warn(prefix, own, figures, codebook, epoch)
        if self.filepath is not None:
            filepath = Path(self.filepath.format(epoch=epoch + 1))
            filepath.parent.mkdir(parents=True, exist_ok=True)
            plot_codebook_usage(counts, filepath, title=f"codebook usage, epoch {epoch + 1}")

    def _counted(self) -> list[np.ndarray]:
        """Counts the codes of the inputs, as an array of shape `(codebook_size,)` per stage."""
        grids = keras.tree.flatten(self.model.encode(self.inputs))
        counts = []
        for quantizer, codes in zip(self.model._quantizers().values(), grids, strict=True):
            sizes = quantizer.codebook_sizes
            for stage, size in zip(codes.reshape(-1, len(sizes)).T, sizes, strict=True):
                counts.append(np.bincount(stage[stage >= 0], minlength=size).astype("float32"))
        return counts

    def _warn(
        self,
        prefix: str,
        counts: np.ndarray,
        figures: Mapping[str, float],
        codebook: Codebook | None,
        epoch: int,
    ) -> None:
        size = len(counts)
        if size < _FEWEST_CODES or figures["perplexity"] >= self.collapse * size:
            self.collapsed_epochs[prefix] = 0
            return
        self.collapsed_epochs[prefix] = self.collapsed_epochs.get(prefix, 0) + 1
        if self.collapsed_epochs[prefix] == self.patience:
            where = f" of {prefix[:-1].replace('_', ' ')}" if prefix else ""
            warnings.warn(
                f"The codebook{where} has collapsed: after epoch {epoch + 1} the perplexity of "
                f"{size} codes is {figures['perplexity']:.1f}, and {figures['dead']:.0f} codes are "
                f"dead. Possible remedies: {'; '.join(_advice(codebook))}.",
                CollapseWarning,
                stacklevel=2,
            )


def _figures(counts: np.ndarray, codebook: Codebook | None) -> dict[str, float]:
    dead = int((counts <= _DEAD * counts.mean()).sum())
    figures = {
        "in_use": 1.0 - dead / len(counts),
        "perplexity": float(vq_ops.perplexity(counts)),
        "dead": float(dead),
    }
    if codebook is not None:
        norms = np.linalg.norm(ops.convert_to_numpy(codebook.code_vectors()), axis=1)
        figures["norm_spread"] = float(norms.std() / norms.mean()) if norms.any() else 0.0
    return figures


def _advice(codebook: Codebook | None) -> list[str]:
    advice = []
    if codebook is not None and codebook.restart is None:
        advice.append("restart dead codes (codebook argument restart=DeadCodeRestart())")
    elif codebook is not None:
        advice.append("continue, since a code restarts only after some hundred steps without use")
    if codebook is not None and codebook.trainable_weights:
        advice.append("update the codebook by exponential moving averages (EMACodebook)")
    if codebook is not None:
        advice.append("initialize the codebook from data (call `adapt` before `fit`)")
    return [
        *advice,
        "decrease the learning rate",
        "use a smaller codebook, or code vectors of lower dimension (ProjectedQuantizer)",
    ]
