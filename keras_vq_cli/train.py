"""`keras-vq train`: trains a model on a data set of images and writes a run folder."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import platform
import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_vq_cli import arguments, console, files, interrupts
from keras_vq_cli.backend import BACKENDS, import_keras
from keras_vq_cli.settings import (
    EPOCHS,
    EPOCHS_OF_SMALL_SET,
    MODELS,
    NETWORKS,
    ONLY_FOR,
    SMALL_SET,
    Settings,
    option,
)

if TYPE_CHECKING:
    import keras

    from keras_vq.data import ImageDataset
    from keras_vq_cli.checkpoints import History

# Options allowed with --resume; the others are read from config.json.
_WITH_RESUME = {"out", "resume", "epochs", "backend", "data_dir", "quiet", "debug"}
_VALIDATION_IMAGES = 1000
_PICTURED = 20
_SAMPLES = 40

_EPILOG = """\
examples:
  keras-vq train
      a VQ-VAE on 8 x 8 digits, without a network connection, in under a minute
  keras-vq train --model vae --dataset mnist --epochs 20 --beta 1 --out runs/vae
      a VAE on MNIST, which is downloaded on first use
  keras-vq train --dataset photos/ --image-size 64 64 --network residual_convolutional
      a VQ-VAE on your own images
  keras-vq train --resume --out runs/vae --epochs 40
      resumes after the last completed epoch and trains up to epoch 40

Files in the run folder: model.keras (load it with keras_vq.load_model), config.json,
metrics.json, history.csv, history.png, reconstructions.png, and samples.png for a VAE.
"""


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = arguments.add_command(
        commands,
        "train",
        run,
        help="train a model on images",
        description="Trains a model and writes a folder with the model, its metrics and plots.\n"
        "Without options: a VQ-VAE on the 8 x 8 digits of scikit-learn.",
        epilog=_EPILOG,
    )
    _add_data_options(parser)
    _add_model_options(parser)
    _add_training_options(parser)
    _add_run_options(parser)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument(
        "--dataset",
        metavar="NAME|FOLDER",
        help="digits, mnist, fashion_mnist, cifar10, another image data set of TensorFlow "
        "Datasets, or a folder of image files (default: digits)",
    )
    group.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of prepared TensorFlow Datasets (default: $TFDS_DATA_DIR, else "
        "~/tensorflow_datasets)",
    )
    group.add_argument(
        "--image-size",
        nargs=2,
        type=arguments.positive_integer,
        metavar=("H", "W"),
        help="height and width in pixels to which all images are resized (default: no resizing)",
    )
    arguments.add_image_options(group)
    group.add_argument(
        "--limit",
        type=arguments.positive_integer,
        metavar="N",
        help="number of training images; the first N are used (default: all)",
    )


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    codes, latents = ONLY_FOR["vqvae"], ONLY_FOR["vae"]
    group = parser.add_argument_group("model")
    group.add_argument("--model", choices=MODELS, help="model type (default: vqvae)")
    group.add_argument(
        "--network",
        choices=NETWORKS,
        help="architecture of the encoder and decoder (default: convolutional); the convolutional "
        "architectures pad images whose height or width is not divisible by the total stride",
    )
    group.add_argument(
        "--filters",
        nargs="+",
        type=arguments.positive_integer,
        metavar="N",
        help="number of filters of each stride-2 convolution of the encoder, or number of units of "
        "each hidden layer with --network dense (default: depends on the image size, for example "
        "32 64 for 28 x 28 pixels; 512 256 for dense)",
    )
    group.add_argument(
        "--latent-dim",
        type=arguments.positive_integer,
        metavar="N",
        help="dimension of the latent vector; for a vqvae, dimension of each code vector "
        f"(default: {Settings.latent_dim})",
    )
    group = parser.add_argument_group("vqvae only")
    group.add_argument(
        "--codebook-size",
        type=arguments.positive_integer,
        metavar="N",
        help=f"number of code vectors (default: {codes['codebook_size']})",
    )
    group.add_argument(
        "--codebook",
        choices=("ema", "gradient"),
        help="update rule of the codebook: exponential moving averages (ema) or gradient descent "
        f"(default: {codes['codebook']})",
    )
    group.add_argument(
        "--commitment",
        type=arguments.not_negative_number,
        metavar="X",
        help=f"weight of the commitment loss (default: {codes['commitment']})",
    )
    group.add_argument(
        "--estimator",
        choices=("straight_through", "rotation_trick"),
        help=f"gradient estimator of the quantizer (default: {codes['estimator']})",
    )
    group.add_argument(
        "--start",
        choices=("kmeans", "random"),
        help="initialization of the codebook: k-means on encoder outputs, or random "
        f"(default: {codes['start']})",
    )
    group = parser.add_argument_group("vae only")
    group.add_argument(
        "--beta",
        type=arguments.not_negative_number,
        metavar="X",
        help=f"weight of the KL divergence (default: {latents['beta']:g})",
    )
    group.add_argument(
        "--kl-warmup-steps",
        type=arguments.not_negative_integer,
        metavar="N",
        help="number of training steps over which the KL weight increases from 0 to --beta "
        f"(default: {latents['kl_warmup_steps']})",
    )


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument(
        "--epochs",
        type=arguments.positive_integer,
        metavar="N",
        help="total number of epochs, including those before --resume (default: "
        f"{EPOCHS_OF_SMALL_SET} for fewer than {SMALL_SET:,} images, else {EPOCHS})",
    )
    group.add_argument(
        "--batch-size",
        type=arguments.positive_integer,
        metavar="N",
        help=f"number of images per training step (default: {Settings.batch_size})",
    )
    group.add_argument(
        "--learning-rate",
        type=arguments.positive_number,
        metavar="X",
        help=f"learning rate of the Adam optimizer (default: {Settings.learning_rate:g})",
    )
    group.add_argument(
        "--mixed-precision",
        choices=("float16", "bfloat16"),
        help="data type of computations; weights stay in float32 (default: float32)",
    )
    arguments.add_backend(
        group, "$KERAS_BACKEND, else the one in ~/.keras/keras.json, else the first installed"
    )
    group.add_argument(
        "--seed",
        type=arguments.not_negative_integer,
        metavar="N",
        help="random seed of the weights, the order of images and the samples (default: 0)",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument(
        "--out",
        metavar="DIR",
        help="run folder to write, new or empty (default: runs/MODEL-DATASET, with a number "
        "appended if it exists)",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="resume the run in --out with its settings; a larger --epochs extends it",
    )
    group.add_argument("--quiet", action="store_true", help="print only warnings and errors")
    arguments.add_debug(group)


@dataclasses.dataclass
class Run:
    """Training run: its settings, folder and locks."""

    settings: Settings
    folder: Path | None  # None until the default folder is created
    config: dict[str, Any]  # empty for a new run
    command: str
    quiet: bool
    locks: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)

    def say(self, text: str) -> None:
        """Prints a progress message, except with --quiet."""
        if not self.quiet:
            console.message(text)


def run(given: dict[str, Any], args: list[str]) -> None:
    """Runs the command.

    Args:
        given: Dict of the given options.
        args: List of the raw arguments.

    Raises:
        ValueError: If an argument is invalid, or training diverges.
        KeyboardInterrupt: After Ctrl-C, with a message about the saved epochs.
    """
    command = shlex.join(["keras-vq", *args])
    run = _resumed_run(given, command) if given.get("resume") else _new_run(given, command)
    # A resumed run keeps its backend, because random numbers differ between backends.
    asked = given.get("backend") or run.config.get("backend")
    _check_folder(run.settings.dataset)
    run.say("Starting Keras ...")
    try:
        with run.locks:
            if run.config and run.folder is not None:
                run.locks.enter_context(files.locked(run.folder))
            _train(run, import_keras(asked, given.get("debug", False)))
    except KeyboardInterrupt:
        if run.folder is None or not (run.folder / "config.json").exists():
            raise KeyboardInterrupt("Stopped before training. No files were written.") from None
        raise KeyboardInterrupt(_what_is_kept(run.folder)) from None


def _check_folder(dataset: str) -> None:
    """Raises ValueError for a path without a folder, before the slow import of Keras."""
    is_path = dataset.startswith((".", "/", "~", "\\")) or dataset.endswith(("/", "\\"))
    if is_path and not os.path.exists(os.path.expanduser(dataset)):
        raise ValueError(f"--dataset must be an existing folder. Received: {dataset}")


def _new_run(given: dict[str, Any], command: str) -> Run:
    folder = Path(given["out"]) if "out" in given else None
    if folder is not None and folder.exists():
        if not folder.is_dir():
            raise ValueError(f"--out must be a folder. Received: the file {folder}")
        _check_is_free(folder)
    names = {field.name for field in dataclasses.fields(Settings)}
    settings = Settings.from_options({k: v for k, v in given.items() if k in names})
    return Run(settings, folder, {}, command, given.get("quiet", False))


def _check_is_free(folder: Path) -> None:
    if not all(files.is_left_over(path) for path in folder.iterdir()):
        raise ValueError(
            f"--out must be a new or empty folder. Received: {folder}, which is not empty. Resume "
            f"its run with: keras-vq train --resume --out {shlex.quote(str(folder))}, or choose "
            "another --out."
        )


def _resumed_run(given: dict[str, Any], command: str) -> Run:
    if "out" not in given:
        raise ValueError("--resume requires a run folder: keras-vq train --resume --out DIR")
    foreign = sorted(set(given) - _WITH_RESUME)
    if foreign:
        raise ValueError(
            f"A resumed run uses the settings in its config.json. Remove {option(foreign[0])}, "
            "or start a new run."
        )
    folder = Path(given["out"])
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"--out must be a folder with the config.json of a run to resume. Received: {folder}"
        )
    config = read_config(folder)
    settings = settings_of(config)
    epochs = given.get("epochs", settings.epochs)
    data_dir = given.get("data_dir", settings.data_dir)
    settings = dataclasses.replace(settings, epochs=epochs, data_dir=data_dir)
    return Run(settings, folder, config, command, given.get("quiet", False))


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the configuration `config.json` of a run folder.

    Raises:
        ValueError: If the file is not a valid configuration.
    """
    path = folder / "config.json"
    config = files.read_json(path)
    shape = config.get("image_shape") if isinstance(config, dict) else None
    if (
        not isinstance(shape, list)
        or [type(size) for size in shape] != [int] * 3
        or config.get("backend") not in BACKENDS
        or not isinstance(config.get("settings"), dict)
        or not isinstance(config.get("command"), str)
        or not isinstance(config.get("resumed_by"), list)
    ):
        raise ValueError(
            f"{path} must be a run configuration written by keras-vq train. Restore it from a "
            "backup, or start a new run."
        )
    return config


def settings_of(config: dict[str, Any]) -> Settings:
    """Returns the settings of a run, validated like command line options.

    Raises:
        ValueError: If a setting is invalid.
    """
    settings = Settings.from_json(config["settings"])
    parser = _Checker(argument_default=argparse.SUPPRESS, allow_abbrev=False)
    for add in (_add_data_options, _add_model_options, _add_training_options):
        add(parser)
    typed: list[str] = []
    for name, value in settings.to_json().items():
        if isinstance(value, tuple):
            typed += [option(name), *map(str, value)]
        elif value is True:
            typed.append(option(name))
        elif value not in (None, False):
            typed.append(f"{option(name)}={value}")
    try:
        checked = Settings.from_options(vars(parser.parse_args(typed)))
    except ValueError as error:
        raise ValueError(f"config.json contains invalid settings: {error}") from None
    if checked != settings:
        wrong = {
            name: value
            for name, value in settings.to_json().items()
            if value != getattr(checked, name)
        }
        raise ValueError(f"config.json contains invalid settings. Received: {wrong}")
    return settings


class _Checker(argparse.ArgumentParser):
    """Argument parser that raises ValueError instead of exiting."""

    def error(self, message: str) -> Any:
        raise ValueError(message)


def _train(run: Run, backend: str) -> None:
    from keras_vq_cli import checkpoints, pipeline

    run.settings = pipeline.with_whole_path(run.settings)
    train, test = pipeline.load_images(run.settings, progress=not run.quiet)
    run.settings = run.settings.completed(train.image_shape, len(train))
    _check_same_images(run, train)

    model_file = None if run.folder is None else run.folder / "model.keras"
    history: History = []
    if run.config and model_file is not None and model_file.exists():
        model, history = checkpoints.load(model_file)
    else:
        model = pipeline.build_model(run.settings, train.image_shape)
    if _is_finished(run, len(history)):
        return
    interrupts.check()
    folder = _write_config(run, backend, train, test)
    if history:
        run.say(f"Resuming after epoch {len(history)}.")
        checkpoints.write_history(history, folder / "history.csv")
    elif run.settings.start is not None:
        pipeline.start_codes(model, run.settings, train)
    interrupts.check()
    run.say(f"Training {run.settings.model} on {len(train):,} images of {train.name} in {folder}")
    _fit(run, folder, model, history, train, test)

    run.say(f"Evaluating on {len(test):,} test images ...")
    metrics = _write_results(run.settings, folder, model, history, test)
    if not run.quiet:
        console.result(_table(run.settings, metrics))
        console.result(_where_to_look(folder, run.settings))


def _check_same_images(run: Run, train: ImageDataset) -> None:
    now = {"image_shape": list(train.image_shape), "train_images": len(train)}
    before = {name: run.config.get(name) for name in now}
    if run.config and now != before:
        raise ValueError(
            "The training images have changed since the start of the run. Start a new run. "
            f"Received: {now}. Before: {before}"
        )


def _is_finished(run: Run, done: int) -> bool:
    assert run.settings.epochs is not None
    if not done:
        return False
    if run.settings.epochs < done:
        raise ValueError(
            f"--epochs must be at least {done}, the number of completed epochs. "
            f"Received: --epochs {run.settings.epochs}"
        )
    assert run.folder is not None
    metrics = run.folder / "metrics.json"
    if run.settings.epochs > done or not metrics.exists():
        return False
    if files.read_json(metrics).get("epochs") != done:
        return False
    plural = "s" if done > 1 else ""
    run.say(
        f"The run in {run.folder} is complete after {done} epoch{plural}. Set a larger --epochs to "
        "extend it."
    )
    return True


def _write_config(run: Run, backend: str, train: ImageDataset, test: ImageDataset) -> Path:
    if run.folder is None:
        name = train.name.replace("/", "-").replace(":", "-")
        run.folder = _new_folder(Path("runs"), f"{run.settings.model}-{name}")
    run.folder.mkdir(parents=True, exist_ok=True)
    if not run.config:
        run.locks.enter_context(files.locked(run.folder))
        _check_is_free(run.folder)  # again, because another run may have started there since
    files.remove_left_overs(run.folder)
    config = {
        "settings": run.settings.to_json(),
        "dataset": train.name,
        "image_shape": list(train.image_shape),
        "train_images": len(train),
        "test_images": len(test),
        "backend": backend,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("keras-vq", "keras", "numpy", backend)},
        },
        "command": run.config.get("command", run.command),
        "resumed_by": [*run.config.get("resumed_by", []), *([run.command] if run.config else [])],
    }
    files.write_json(run.folder / "config.json", config)
    return run.folder


def _new_folder(parent: Path, name: str) -> Path:
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            # mkdir is atomic, so concurrent runs get different folders.
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # e.g. tensorflow is installed as tensorflow-cpu
        return None


def _fit(
    run: Run,
    folder: Path,
    model: keras.Model,
    history: History,
    train: ImageDataset,
    test: ImageDataset,
) -> None:
    from keras_vq.models import NonFiniteLossError
    from keras_vq_cli.checkpoints import SaveEpochs
    from keras_vq_cli.progress import TrainingProgress

    settings, done = run.settings, len(history)
    assert settings.epochs is not None
    if done == settings.epochs:
        return
    batches = train.batches(settings.batch_size, shuffle=True, seed=settings.seed, first_epoch=done)
    validation = test.take(_VALIDATION_IMAGES).batches(settings.batch_size)
    callbacks: list[Any] = [SaveEpochs(folder, history)]
    options = {
        "validation_data": validation,
        "initial_epoch": done,
        "epochs": settings.epochs,
        "verbose": 0,
    }
    try:
        if run.quiet:
            model.fit(batches, callbacks=callbacks, **options)
            return
        with TrainingProgress(settings.epochs, done, len(batches)) as progress:
            model.fit(batches, callbacks=[*callbacks, progress], **options)
    except NonFiniteLossError as error:
        kept = f"epoch {len(history)} is saved in {folder}" if history else "no epoch was saved"
        raise ValueError(
            f"Training diverged in epoch {len(history) + 1}: the loss is NaN or infinite "
            f"({kept}). Start a new run with a lower --learning-rate. "
            f"Received: --learning-rate {settings.learning_rate:g}"
        ) from error


def _write_results(
    settings: Settings, folder: Path, model: keras.Model, history: History, test: ImageDataset
) -> dict[str, Any]:
    from keras_vq import plots
    from keras_vq_cli.figures import test_figures

    metrics = test_figures(model, test, settings.batch_size)
    metrics["epochs"] = len(history)
    metrics["train_seconds"] = sum(row["seconds"] for row in history)
    images = test.take(_PICTURED).images
    of = f"{settings.model} on {test.name}"
    plots.plot_reconstructions(
        images,
        model.reconstruct(images, settings.batch_size),
        folder / "reconstructions.png",
        title=f"{of}: test images, PSNR {metrics['psnr']:.1f} dB",
    )
    if settings.model == "vae":
        samples = model.generate(_SAMPLES, seed=settings.seed)
        plots.plot_samples(samples, folder / "samples.png", title=f"{of}: generated images")
    curves = {name: [row[name] for row in history] for name in history[0]}
    plots.plot_history(curves, folder / "history.png")
    # Written last, because this file marks a run as finished.
    files.write_json(folder / "metrics.json", metrics)
    return metrics


def _table(settings: Settings, metrics: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f"{settings.model} on {metrics['test_images']:,} test images")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("description", style="dim")
    for name, value in metrics.items():
        if value is not None and name != "test_images":
            text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
            table.add_row(name, text, _MEANINGS.get(name, ""))
    return table


_MEANINGS = {
    "loss": "total training loss",
    "reconstruction_loss": "reconstruction term of the loss",
    "quantization_loss": "commitment and codebook terms of the loss",
    "kl_loss": "KL divergence, nats per image",
    "perplexity": "perplexity of the codes",
    "codebook_usage": "fraction of codes in use",
    "mse": "mean squared error of pixels in [0, 1]",
    "psnr": "peak signal-to-noise ratio, dB",
    "bits_per_image": "size of the codes, bits per image",
    "parameters": "number of trained parameters",
    "epochs": "number of training epochs",
    "train_seconds": "training time, seconds",
}


def _where_to_look(folder: Path, settings: Settings) -> str:
    samples = f"\n  {folder / 'samples.png'}  generated images" if settings.model == "vae" else ""
    return (
        f"Plots:\n  {folder / 'reconstructions.png'}  originals above reconstructions{samples}"
        f"\n  {folder / 'history.png'}  loss per epoch"
        f"\nReconstruct your own images: keras-vq reconstruct {shlex.quote(str(folder))} IMAGE ..."
    )


def _what_is_kept(folder: Path) -> str:
    from keras_vq_cli.checkpoints import finished_epochs

    done = finished_epochs(folder / "model.keras")
    kept = f"Saved {done} epoch{'s' if done > 1 else ''}" if done else "No epoch was completed"
    return (
        f"Stopped. {kept} in {folder}. Resume with: keras-vq train --resume --out "
        f"{shlex.quote(str(folder))}"
    )
