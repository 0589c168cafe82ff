"""`keras-vq train`: trains a model on images and writes a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shlex
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_vq_cli import backend, console, files, interrupts, options, runs, session
from keras_vq_cli.options import (
    COUNT,
    NATURAL,
    NOT_NEGATIVE,
    POSITIVE,
    Choice,
    Integers,
    image_reading,
    option,
    out,
)
from keras_vq_cli.settings import (
    EPOCHS,
    EPOCHS_OF_SMALL_SET,
    MODELS,
    NETWORKS,
    ONLY_FOR,
    SMALL_SET,
    Settings,
    option_of,
)

if TYPE_CHECKING:
    import keras

    from keras_vq.data import ImageDataset
    from keras_vq_cli.checkpoints import History

# Options allowed with --resume; the others are read from config.json.
_WITH_RESUME = {"out", "resume", "epochs", "data_dir"}
_VALIDATION_IMAGES = 1000
_PICTURED = 20
_SAMPLES = 40

_EXAMPLES = """
Examples:
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


def _data_options(function: Any) -> Any:
    group = "Images"
    for add in (
        option(
            "--limit",
            type=COUNT,
            group=group,
            help="Number of training images; the first ones are used.  [default: all]",
        ),
        lambda function: image_reading(function, group),
        option(
            "--image-size",
            type=COUNT,
            nargs=2,
            metavar="H W",
            group=group,
            help="Height and width to which all images are resized.  [default: no resizing]",
        ),
        option(
            "--data-dir",
            metavar="DIR",
            group=group,
            help="Folder of prepared TensorFlow Datasets.  [default: $TFDS_DATA_DIR, else "
            "~/tensorflow_datasets]",
        ),
        option(
            "--dataset",
            metavar="NAME|FOLDER",
            group=group,
            help="digits, mnist, fashion_mnist, cifar10, another image data set of TensorFlow "
            "Datasets, or a folder of image files.  [default: digits]",
        ),
    ):
        function = add(function)
    return function


def _setting(
    name: str, kind: Any, group: str, help: str, default: Any = None
) -> Callable[..., Any]:
    """Returns a decorator that adds an option without a default value of its own."""
    text = f"{help}  [default: {default}]"
    return option(option_of(name), type=kind, group=group, help=text)


_CODES, _LATENTS = ONLY_FOR["vqvae"], ONLY_FOR["vae"]
_SETTINGS = (
    _setting("model", Choice(MODELS), "Model", "Type of model.", Settings.model),
    _setting(
        "network",
        Choice(NETWORKS),
        "Model",
        "Architecture of the encoder and decoder. The convolutional ones pad images whose height "
        "or width is not divisible by the total stride.",
        NETWORKS[0],
    ),
    _setting(
        "filters",
        Integers(),
        "Model",
        "Number of filters of each stride-2 convolution of the encoder, or of units of each hidden "
        "layer with --network dense.",
        "by image size, 32,64 for 28 x 28 pixels; 512,256 for dense",
    ),
    _setting(
        "latent_dim",
        COUNT,
        "Model",
        "Dimension of the latent vector; for a vqvae, of each code vector.",
        Settings.latent_dim,
    ),
    _setting(
        "codebook_size", COUNT, "vqvae only", "Number of code vectors.", _CODES["codebook_size"]
    ),
    _setting(
        "codebook",
        Choice(("ema", "gradient")),
        "vqvae only",
        "Update rule of the codebook: exponential moving averages (ema) or gradient descent.",
        _CODES["codebook"],
    ),
    _setting(
        "commitment",
        NOT_NEGATIVE,
        "vqvae only",
        "Weight of the commitment loss.",
        _CODES["commitment"],
    ),
    _setting(
        "estimator",
        Choice(("straight_through", "rotation_trick")),
        "vqvae only",
        "Gradient estimator of the quantizer.",
        _CODES["estimator"],
    ),
    _setting(
        "start",
        Choice(("kmeans", "random")),
        "vqvae only",
        "Initialization of the codebook: k-means on encoder outputs, or random.",
        _CODES["start"],
    ),
    _setting(
        "beta", NOT_NEGATIVE, "vae only", "Weight of the KL divergence.", f"{_LATENTS['beta']:g}"
    ),
    _setting(
        "kl_warmup_steps",
        NATURAL,
        "vae only",
        "Number of training steps over which the KL weight increases from 0 to --beta.",
        _LATENTS["kl_warmup_steps"],
    ),
    _setting(
        "epochs",
        COUNT,
        "Training",
        "Total number of epochs, including those before --resume.",
        f"{EPOCHS_OF_SMALL_SET} for fewer than {SMALL_SET:,} images, else {EPOCHS}",
    ),
    _setting("batch_size", COUNT, "Training", "Number of images per step.", Settings.batch_size),
    _setting(
        "learning_rate",
        POSITIVE,
        "Training",
        "Learning rate of the Adam optimizer.",
        f"{Settings.learning_rate:g}",
    ),
    _setting(
        "mixed_precision",
        Choice(("float16", "bfloat16")),
        "Training",
        "Data type of computations; weights stay in float32.",
        "float32",
    ),
    _setting(
        "seed",
        NATURAL,
        "Training",
        "Random seed of the weights, the order of images and the samples.",
        Settings.seed,
    ),
)


def _settings_options(function: Any) -> Any:
    for add in reversed(_SETTINGS):
        function = add(function)
    return _data_options(function)


@options.command(_EXAMPLES)
@_settings_options
@out(
    "Run folder to write, new or empty.  [default: runs/MODEL-DATASET, with a number appended if "
    "it exists]",
    group="Run",
)
@option(
    "--resume",
    is_flag=True,
    group="Run",
    help="Resume the run in --out with its settings; a larger --epochs extends it.",
)
def command(**parameters: Any) -> None:
    """Trains a model on images and writes a run folder.

    The folder contains the model, its metrics and plots. Without options: a VQ-VAE on the 8 x 8
    digits of scikit-learn.
    """
    given = {name: value for name, value in parameters.items() if value not in (None, False)}
    typed = shlex.join(["keras-vq", *session.current().arguments])
    run = _resumed_run(given, typed) if given.get("resume") else _new_run(given, typed)
    _check_folder(run.settings.dataset)
    try:
        with run.locks:
            if run.config and run.folder is not None:
                run.locks.enter_context(files.locked(run.folder))
            # A resumed run keeps its backend, because random numbers differ between backends.
            _train(run, backend.import_keras(run.config.get("backend")))
    except KeyboardInterrupt:
        if run.folder is None or not (run.folder / "config.json").exists():
            raise KeyboardInterrupt("Stopped before training. No files were written.") from None
        raise KeyboardInterrupt(_what_is_kept(run.folder)) from None


def settings_from(parameters: dict[str, Any]) -> Settings:
    """Returns the settings of parsed options.

    Raises:
        ValueError: If an option does not apply to the type of model.
    """
    names = {field.name for field in dataclasses.fields(Settings)}
    given = {k: v for k, v in parameters.items() if k in names and v not in (None, False)}
    return Settings.from_options(given)


@dataclasses.dataclass
class Run:
    """Training run: its settings, folder and locks."""

    settings: Settings
    folder: Path | None  # None until the default folder is created
    config: dict[str, Any]  # empty for a new run
    command: str
    locks: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)


def _check_folder(dataset: str) -> None:
    """Raises ValueError for a path without a folder, before the slow import of Keras."""
    is_path = dataset.startswith((".", "/", "~", "\\")) or dataset.endswith(("/", "\\"))
    if is_path and not os.path.exists(os.path.expanduser(dataset)):
        raise ValueError(f"--dataset must be an existing folder. Received: {dataset}")


def _new_run(given: dict[str, Any], command: str) -> Run:
    folder = given.get("out")
    if folder is not None and folder.exists():
        if not folder.is_dir():
            raise ValueError(f"--out must be a folder. Received: the file {folder}")
        _check_is_free(folder)
    return Run(settings_from(given), folder, {}, command)


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
            f"A resumed run uses the settings in its config.json. Remove {option_of(foreign[0])}, "
            "or start a new run."
        )
    folder = given["out"]
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"--out must be a folder with the config.json of a run to resume. Received: {folder}"
        )
    config = runs.read_config(folder)
    settings = runs.settings_of(config)
    epochs = given.get("epochs", settings.epochs)
    data_dir = given.get("data_dir", settings.data_dir)
    settings = dataclasses.replace(settings, epochs=epochs, data_dir=data_dir)
    return Run(settings, folder, config, command)


def _train(run: Run, running: str) -> None:
    from keras_vq_cli import checkpoints, pipeline

    run.settings = pipeline.with_whole_path(run.settings)
    train, test = pipeline.load_images(run.settings, progress=not session.current().quiet)
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
    folder = _write_config(run, running, train, test)
    if history:
        console.message(f"Resuming after epoch {len(history)}.")
        checkpoints.write_history(history, folder / "history.csv")
    elif run.settings.start is not None:
        pipeline.start_codes(model, run.settings, train)
    interrupts.check()
    console.message(
        f"Training {run.settings.model} on {len(train):,} images of {train.name} in {folder}"
    )
    _fit(run, folder, model, history, train, test)

    console.message(f"Evaluating on {len(test):,} test images ...")
    metrics = _write_results(run.settings, folder, model, history, test)
    record = {"folder": str(folder), "metrics": metrics}
    console.result(record, _table(run.settings, metrics), _where_to_look(folder, run.settings))


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
    console.message(
        f"The run in {run.folder} is complete after {done} epoch{plural}. Set a larger --epochs to "
        "extend it."
    )
    return True


def _write_config(run: Run, running: str, train: ImageDataset, test: ImageDataset) -> Path:
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
        "backend": running,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("keras-vq", "keras", "numpy", running)},
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
        if session.current().quiet:
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
