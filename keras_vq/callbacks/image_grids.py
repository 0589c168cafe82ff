"""Callbacks that draw reconstructions and generated images during training."""

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._extras import require
from keras_vq._inputs import as_array
from keras_vq.callbacks._tensorboard import write_figure
from keras_vq.plots import plot_rows, plot_samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class _FigureOfEpoch(keras.callbacks.Callback):
    """Base class of callbacks that draw a figure at regular epochs.

    The figure is written to a file, to TensorBoard or both, or displayed in a notebook if there is
    neither `filepath` nor `log_dir`.

    Args:
        filepath: Path of a png, pdf or svg file, or None. With `{epoch}` in its name, each figure
            has its own file.
        log_dir: Path of the TensorBoard log directory, or None.
        every: Integer. Number of epochs between figures. The last epoch always has a figure.
    """

    tag = "images"

    def __init__(
        self,
        filepath: str | os.PathLike[str] | None,
        log_dir: str | os.PathLike[str] | None,
        every: int,
    ) -> None:
        super().__init__()
        self.filepath = None if filepath is None else str(filepath)
        self.log_dir = None if log_dir is None else str(log_dir)
        self.every = _validation.check_positive_integer("every", every)
        # Report errors before the first epoch.
        if self.filepath is not None:
            _check_name(self.filepath)
        if self.log_dir is not None:
            require(("tensorboard",), "tensorboard", "Logging images to TensorBoard")
        elif self.filepath is None:
            _notebook_display()

    def draw(self, title: str, filepath: Path | None = None) -> "Figure":
        """Returns a figure of the current model, and writes it to `filepath` unless it is None."""
        raise NotImplementedError

    def on_train_begin(self, logs: Any = None) -> None:
        """Resets the epoch counters."""
        del logs
        self.epoch = self.drawn = -1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Draws a figure every `every` epochs."""
        del logs
        self.epoch = epoch
        if (epoch + 1) % self.every == 0:
            self._show()

    def on_train_end(self, logs: Any = None) -> None:
        """Draws a figure of the last epoch, unless it exists."""
        del logs
        if self.epoch != self.drawn:
            self._show()

    def _show(self) -> None:
        self.drawn = self.epoch
        filepath = None
        if self.filepath is not None:
            filepath = Path(self.filepath.format(epoch=self.epoch + 1))
            filepath.parent.mkdir(parents=True, exist_ok=True)
        figure = self.draw(f"epoch {self.epoch + 1}", filepath)
        if self.log_dir is not None:
            write_figure(self.log_dir, self.tag, figure, self.epoch)
        elif filepath is None:
            _notebook_display()(figure)


def _check_name(filepath: str) -> None:
    try:
        suffix = Path(filepath.format(epoch=1)).suffix
    except (KeyError, IndexError, ValueError):
        suffix = ""
    if suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(
            "`filepath` must end in .png, .pdf or .svg, and may contain {epoch}. "
            f"Received: {filepath!r}"
        )


class ReconstructionGrid(_FigureOfEpoch):
    """Callback that draws images and their reconstructions after each epoch.

    The figure is displayed in a notebook, or written if `filepath` or `log_dir` is given.

    Args:
        images: Array of shape `(n, height, width, channels)`, with pixels in [0, 1]. Inputs of the
            model.
        targets: Array of targets, drawn below the reconstructions, for denoising or
            super-resolution. Defaults to None: the images are the targets.
        filepath: Path of a png, pdf or svg file, such as `"pictures/{epoch:03d}.png"`. Defaults to
            None.
        log_dir: Path of the TensorBoard log directory. Requires the package tensorboard. Defaults
            to None.
        every: Integer. Number of epochs between figures. The last epoch always has a figure.
            Defaults to 1.

    Raises:
        ValueError: If `filepath` is invalid, or neither `filepath` nor `log_dir` is given outside a
            notebook.
        ImportError: If `log_dir` is given and tensorboard is not installed.

    Example:
        >>> import numpy as np, keras_vq, tempfile, os
        >>> images = np.random.default_rng(0).random((8, 8, 8, 1), "float32")
        >>> model = keras_vq.Autoencoder(*keras_vq.networks.convolutional((8, 8, 1), latent_dim=2))
        >>> model.compile("adam")
        >>> folder = tempfile.mkdtemp()
        >>> filepath = folder + "/{epoch}.png"
        >>> grid = keras_vq.callbacks.ReconstructionGrid(images[:5], filepath=filepath)
        >>> history = model.fit(images, epochs=2, verbose=0, callbacks=[grid])
        >>> sorted(os.listdir(folder))
        ['1.png', '2.png']
    """

    tag = "reconstructions"

    def __init__(
        self,
        images: Any,
        targets: Any = None,
        filepath: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        every: int = 1,
    ) -> None:
        super().__init__(filepath, log_dir, every)
        self.images = np.asarray(ops.convert_to_numpy(as_array("images", images)))
        if targets is not None:
            targets = np.asarray(ops.convert_to_numpy(as_array("targets", targets)))
        self.targets = targets

    def draw(self, title: str, filepath: Path | None = None) -> "Figure":
        """Draws rows of images, reconstructions, and targets if given."""
        made = self.model.reconstruct(self.images)
        if self.targets is None:
            rows = {"original": self.images, "reconstruction": made}
        else:
            rows = {"given": self.images, "made": made, "wanted": self.targets}
        return plot_rows(rows, filepath, title)


class SampleGrid(_FigureOfEpoch):
    """Callback that draws generated images after each epoch, with the same seed in all epochs.

    Args:
        n: Integer. Number of images. Defaults to 20.
        filepath: See `ReconstructionGrid`.
        log_dir: See `ReconstructionGrid`.
        every: See `ReconstructionGrid`.
        seed: Integer. Seed of `model.generate`. Defaults to 0.
        **options: Other arguments of `model.generate`, such as `prior`.

    Raises:
        ValueError: See `ReconstructionGrid`. Also at the start of training, if the model can't
            generate images or a required `prior` is missing.
        ImportError: See `ReconstructionGrid`.

    Example:
        >>> import numpy as np, keras_vq, tempfile, os
        >>> images = np.random.default_rng(0).random((8, 8, 8, 1), "float32")
        >>> maps = keras_vq.networks.convolutional(
        ...     (8, 8, 1), latent_dim=None, output_activation="sigmoid"
        ... )
        >>> model = keras_vq.VAE(*keras_vq.networks.flat_latent(maps, None), latent_dim=2)
        >>> model.compile("adam")
        >>> folder = tempfile.mkdtemp()
        >>> grid = keras_vq.callbacks.SampleGrid(4, filepath=folder + "/new.png")
        >>> history = model.fit(images, verbose=0, callbacks=[grid])
        >>> os.listdir(folder)
        ['new.png']
    """

    tag = "samples"

    def __init__(
        self,
        n: int = 20,
        filepath: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        every: int = 1,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(filepath, log_dir, every)
        self.n, self.seed, self.options = n, seed, options

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks that the model can generate images, and has a prior if it requires one."""
        super().on_train_begin(logs)
        generate = getattr(self.model, "generate", None)
        wanted = inspect.signature(generate).parameters if callable(generate) else {}
        needs_prior = "prior" in wanted and (
            wanted["prior"].default is inspect.Parameter.empty
            or getattr(self.model, "_needs_prior", False)
        )
        if not wanted or (needs_prior and "prior" not in self.options):
            raise ValueError(
                "The model of a SampleGrid must be a VAE, or a model that generates with `prior`. "
                f"Received: {type(self.model).__name__}, options {sorted(self.options)}"
            )

    def draw(self, title: str, filepath: Path | None = None) -> "Figure":
        """Draws a grid of generated images."""
        images = self.model.generate(n=self.n, seed=self.seed, **self.options)
        return plot_samples(images, filepath, title)


def _notebook_display() -> Any:
    """Returns IPython's `display` function.

    Raises:
        ValueError: If the code does not run in IPython.
    """
    try:
        from IPython import display, get_ipython
    except ImportError:
        shell = None
    else:
        shell = get_ipython()
    if shell is None:
        raise ValueError(
            "`filepath` or `log_dir` must be set outside a notebook. Received: neither"
        )
    return display.display
