"""Plots of training curves, codebook usage and latent spaces."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vq import ops as vq_ops
from keras_vq._extras import require
from keras_vq.plots._figure import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_NOT_PLOTTED = ("epoch", "seconds")
_LOGARITHMIC_ABOVE = 50


def plot_history(history: Any, filepath: str | os.PathLike[str] | None = None) -> Figure:
    """Plots losses and metrics by epoch, with training and validation curves in one panel.

    Args:
        history: `History` returned by `fit`, or a dictionary from names to one number per epoch.
            The prefix `val_` denotes validation. The key `epoch`, if present, is the horizontal
            axis.
        filepath: String or path. File to write, with the suffix of an image format such as .png,
            .pdf or .svg. Defaults to None.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If there is nothing to plot, or `filepath` is invalid.

    Example:
        >>> from keras_vq.plots import plot_history
        >>> figure = plot_history({"loss": [3.0, 2.0], "val_loss": [3.1, 2.2]})
        >>> [axes.get_title() for axes in figure.axes]
        ['loss']
    """
    curves = _curves_of(history)
    figure, panels = _panels(curves)
    # Legend in the first panel with both curves, or in the first panel.
    with_legend = next((name for name in panels if _is_pair(curves, name)), next(iter(panels)))
    for name, axes in panels.items():
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            _draw(axes, curves, key, label=label)
        if name == with_legend:
            axes.legend(fontsize=8, frameon=False)
    return save(figure, filepath)


def plot_histories(
    histories: Mapping[str, Any], filepath: str | os.PathLike[str] | None = None
) -> Figure:
    """Plots losses and metrics of several runs by epoch, with one panel per metric.

    Validation curves are solid, training curves dashed. A metric whose values differ by a factor of
    more than 50 has a logarithmic axis.

    Args:
        histories: Dictionary from the name of each run to its history, as in `plot_history`.
        filepath: String or path. File to write, with the suffix of an image format such as .png,
            .pdf or .svg. Defaults to None.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If a history is empty, or `filepath` is invalid.

    Example:
        >>> from keras_vq.plots import plot_histories
        >>> short, long = {"loss": [3.0, 2.0]}, {"loss": [3.1, 2.2, 1.9], "perplexity": [2, 3, 4]}
        >>> [axes.get_title() for axes in plot_histories({"short": short, "long": long}).axes]
        ['loss', 'perplexity']
    """
    from matplotlib.lines import Line2D

    if not isinstance(histories, Mapping) or not histories:
        raise ValueError(
            "`histories` must be a dictionary from names of runs to outputs of `fit`. "
            f"Received: {histories!r}"
        )
    runs = {name: _curves_of(history) for name, history in histories.items()}
    figure, panels = _panels([key for curves in runs.values() for key in curves])
    is_validated = any(key.startswith("val_") for curves in runs.values() for key in curves)
    styles: dict[str, Any] = {"val_": "-", "": "--"} if is_validated else {"": "-"}
    for place, curves in enumerate(runs.values()):
        for name, axes in panels.items():
            for prefix, style in styles.items():
                _draw(axes, curves, prefix + name, color=f"C{place}", linestyle=style)
    for axes in panels.values():
        values = np.concatenate([np.asarray(line.get_ydata()) for line in axes.lines])
        if values.min() > 0 and values.max() > _LOGARITHMIC_ABOVE * values.min():
            axes.set_yscale("log")
    marks = [Line2D([], [], color=f"C{place}", label=name) for place, name in enumerate(runs)]
    if is_validated:
        labels = {"val_": "validation", "": "training"}
        marks += [
            Line2D([], [], color="0.4", linestyle=styles[key], label=labels[key]) for key in styles
        ]
    figure.legend(
        handles=marks,
        loc="outside lower center",
        ncols=min(len(marks), 2 * len(panels), 6),
        fontsize=8,
        frameon=False,
    )
    return save(figure, filepath)


def _curves_of(history: Any) -> Mapping[str, Sequence[float]]:
    """Returns the curves of a history by name.

    Raises:
        ValueError: If there are none.
    """
    curves: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    if not isinstance(curves, Mapping) or not any(len(values) for values in curves.values()):
        raise ValueError(
            "`history` must be the output of `fit`, or a mapping from names to one number per "
            f"epoch. Received: {history!r}"
        )
    return curves


def _panels(keys: Iterable[str]) -> tuple[Figure, dict[str, Axes]]:
    """Creates a figure with a panel for each metric, which training and validation share."""
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(key.removeprefix("val_") for key in keys))
    names = [name for name in names if name not in _NOT_PLOTTED]
    if not names:
        raise ValueError("`history` must have a loss or a metric. Received: only epochs and times")
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(4 * columns, 2.8 * rows, layout="constrained")
    panels = {}
    for position, name in enumerate(names):
        axes = panels[name] = figure.add_subplot(rows, columns, position + 1)
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if position + columns >= len(names):
            axes.set_xlabel("epoch", fontsize=9)
    return figure, panels


def _draw(axes: Axes, curves: Mapping[str, Sequence[float]], key: str, **style: Any) -> None:
    """Draws a curve, if the history has it, on an axis that fits all curves drawn so far."""
    if key not in curves:
        return
    values = list(curves[key])
    epochs = list(curves.get("epoch", range(1, len(values) + 1)))
    # A line of one epoch is invisible without a marker.
    axes.plot(epochs, values, marker="o" if len(values) == 1 else None, **style)
    shown = [epoch for line in axes.lines for epoch in np.asarray(line.get_xdata())]
    first, last = min(shown), max(shown)
    # Wider margins would include epoch 0.
    margin = min(0.05 * (last - first), 0.5) or 0.5
    axes.set_xlim(first - margin, last + margin)


def _is_pair(curves: Mapping[str, Sequence[float]], name: str) -> bool:
    """Returns whether a metric has both a training and a validation curve."""
    return name in curves and f"val_{name}" in curves


def plot_codebook_usage(
    counts: Any,
    filepath: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Plots the usage of codes in descending order, in one panel per stage.

    The dashed line is uniform usage: the share of each code if all were used equally.

    Args:
        counts: Array of nonnegative usage counts of shape `(codebook_size,)`, or a list of such
            arrays, one per stage.
        filepath: String or path. File to write, with the suffix of an image format such as .png,
            .pdf or .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If `counts` or `filepath` is invalid.

    Example:
        >>> from keras_vq.plots import plot_codebook_usage
        >>> figure = plot_codebook_usage([[5, 0, 3, 1], [2, 2, 2, 3]])
        >>> len(figure.axes)
        2
    """
    from matplotlib.ticker import MaxNLocator

    stages = _as_counts(counts)
    figure = new_figure(6.4, 1.0 + 1.7 * len(stages), layout="constrained")
    for stage, (axes, own) in enumerate(
        zip(np.atleast_1d(figure.subplots(len(stages))), stages, strict=True)
    ):
        share = 100 * np.sort(own)[::-1] / max(own.sum(), 1)
        places = np.arange(1, len(own) + 1)
        axes.bar(
            places, share, width=1.0, color="tab:blue", linewidth=0, label="share of each code"
        )
        axes.axhline(
            100 / len(own), color="0.3", linewidth=0.8, linestyle="--", label="uniform usage"
        )
        used, perplexity = int((own > 0).sum()), float(vq_ops.perplexity(own))
        heading = f"{used} of {len(own)} codes used, perplexity {perplexity:.1f}"
        axes.set_title(heading if len(stages) == 1 else f"stage {stage}: {heading}", fontsize=9)
        axes.set_ylabel("% of vectors")
        axes.set_xlim(0.5, len(own) + 0.5)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if stage == 0:
            axes.legend(loc="upper right", fontsize=8)
    axes.set_xlabel("codes, the most used first")
    if title:
        figure.suptitle(title)
    return save(figure, filepath)


def _as_counts(counts: Any) -> list[np.ndarray]:
    is_one = np.ndim(counts[0]) == 0 if len(counts) else True
    stages = [np.asarray(own, "float32") for own in ([counts] if is_one else counts)]
    if not all(own.ndim == 1 and own.size and (own >= 0).all() for own in stages):
        raise ValueError(
            "`counts` must be a non-negative array of shape (codebook_size,), or a list of such "
            f"arrays. Received: shapes {[own.shape for own in stages]}"
        )
    return stages


def plot_latent_space(
    latents: Any,
    labels: Any = None,
    filepath: str | os.PathLike[str] | None = None,
    title: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Plots latents as points, colored by label.

    Latents of more than two dimensions are projected to their first two principal components. The
    axis labels state the explained variance.

    Args:
        latents: Array of shape `(n, ...)` with n at least 2, such as `model.encode(images)` or the
            result of t-SNE. All axes except the first are flattened.
        labels: Integer array of shape `(n,)`. Defaults to None.
        filepath: String or path. File to write, with the suffix of an image format such as .png,
            .pdf or .svg. Defaults to None.
        title: String. Title of the figure. Defaults to None.
        class_names: Sequence of strings. Names of labels 0, 1, .... Defaults to None, which shows
            the numbers.

    Returns:
        Matplotlib `Figure`, independent of pyplot.

    Raises:
        ValueError: If there are fewer than two latents, latents are not finite, `labels` or
            `class_names` do not match, or `filepath` is invalid.

    Example:
        >>> import numpy as np
        >>> from keras_vq.plots import plot_latent_space
        >>> rng = np.random.default_rng(0)
        >>> figure = plot_latent_space(rng.normal(size=(20, 8)), rng.integers(0, 3, 20))
        >>> len(figure.axes)
        1
    """
    points = np.asarray(latents, "float64")
    if points.ndim < 2 or len(points) < 2 or not np.isfinite(points).all():
        raise ValueError(
            "`latents` must be finite numbers of shape (n, ...) with n >= 2. "
            f"Received: shape {points.shape}"
        )
    require(("sklearn",), "sklearn", "A plot of the latent space")
    from sklearn.decomposition import PCA

    points = points.reshape(len(points), -1)
    given = np.zeros(len(points), "int64") if labels is None else np.asarray(labels)
    if given.shape != (len(points),) or given.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be {len(points)} integers, one per latent. "
            f"Received: {given.dtype} values of shape {given.shape}"
        )
    if class_names is not None and not (given.min() >= 0 and given.max() < len(class_names)):
        raise ValueError(
            f"`class_names` must have one name per label from 0. Received: {len(class_names)} "
            f"names, labels from {given.min()} to {given.max()}"
        )
    names = ["dimension 0", "dimension 1"]
    if points.shape[1] > 2:
        analysis = PCA(2, random_state=0)
        points, shares = analysis.fit_transform(points), analysis.explained_variance_ratio_
        names = [f"component {i + 1}, {100 * shares[i]:.0f} % of the variance" for i in (0, 1)]
    elif points.shape[1] == 1:
        points = np.concatenate([points, np.zeros_like(points)], axis=1)
        names[1] = ""
    figure = new_figure(6.4, 5.2, layout="constrained")
    axes = figure.subplots()
    # Draw in random order, so that no class hides the others.
    order = np.random.default_rng(0).permutation(len(points))
    kinds, colors = np.unique(given, return_inverse=True)
    drawn: Any = axes.scatter(
        points[order, 0],
        points[order, 1],
        s=float(np.clip(12_000 / len(points), 2.0, 25.0)),
        c=colors[order],
        cmap="tab10" if len(kinds) <= 10 else "turbo",
        vmin=0,
        vmax=max(9, len(kinds) - 1),
        linewidths=0,
        alpha=0.8,
    )
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.spines[["top", "right"]].set_visible(False)
    if labels is not None:
        marks, _ = drawn.legend_elements(num=None, alpha=1.0)
        shown = kinds if class_names is None else [class_names[kind] for kind in kinds]
        axes.legend(
            marks, shown, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8
        )
    if title:
        figure.suptitle(title, fontsize=10)
    return save(figure, filepath)
