"""`keras-vq train`: trains a model on images and writes a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import platform
import shlex
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_vq_cli import backend, configuration, console, files, interrupts, options, runs, session
from keras_vq_cli.configuration import Config

if TYPE_CHECKING:
    import keras

    from keras_vq.data import ImageDataset
    from keras_vq_cli.checkpoints import History

# Settings allowed with --resume; the others are read from config.yaml.
_WITH_RESUME = {"training.epochs", "data.data_dir"}
_VALIDATION_IMAGES = 1000
_PICTURED = 20
_SAMPLES = 40

_EXAMPLES = """
Examples:
  keras-vq train
      a VQ-VAE on 8 x 8 digits, without a network connection, in under a minute
  keras-vq train --model vae --dataset mnist --epochs 20 --beta 1 --out runs/vae
      a VAE on MNIST, which is downloaded on first use
  keras-vq train --dataset photos/ --image-size 64,64 --network residual_convolutional
      a VQ-VAE on your own images
  keras-vq train --quantizer finite_scalar_quantizer --set quantizer.levels=[8,6,5]
      any constructor argument of the network, quantizer, model or optimizer
  keras-vq train --config runs/vae/config.yaml --seed 1
      repeats a run, with another seed
  keras-vq train --resume --out runs/vae --epochs 40
      resumes after the last completed epoch and trains up to epoch 40

Files in the run folder: model.keras (load it with keras_vq.load_model), config.yaml (the complete
configuration), run.json, metrics.json, history.csv, history.png, reconstructions.png, and
samples.png for a VAE.
"""


@options.command(_EXAMPLES)
@configuration.options_of_fields
@options.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    group="Run",
    help="YAML file of settings, such as the config.yaml of a run. Other options override it.",
)
@options.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    group="Run",
    help="Setting of config.yaml, such as quantizer.codebook_size=1024; may be repeated.",
)
@options.out(
    "Run folder to write, new or empty.  [default: runs/MODEL-DATASET, with a number appended if "
    "it exists]",
    group="Run",
)
@options.option(
    "--resume",
    is_flag=True,
    group="Run",
    help="Resume the run in --out with its settings; a larger --epochs extends it.",
)
@options.dry_run
def command(
    config: Path | None,
    settings: tuple[str, ...],
    out: Path | None,
    resume: bool,
    dry_run: bool,
    **parameters: Any,
) -> None:
    """Trains a model on images and writes a run folder.

    The folder contains the model, its metrics and plots. Without options: a VQ-VAE on the 8 x 8
    digits of scikit-learn.
    """
    values = {**configuration.given(parameters), **configuration.parse_settings(settings)}
    typed = shlex.join(["keras-vq", *session.current().arguments])
    if resume:
        run = _resumed_run(out, config, values, typed)
    else:
        run = _new_run(out, config, values, typed)
    configuration.check_dataset(run.config)
    try:
        with run.locks:
            if run.record and run.folder is not None:
                run.locks.enter_context(files.locked(run.folder))
            # A resumed run keeps its backend, because random numbers differ between backends.
            run.config["backend"] = backend.import_keras(run.config.get("backend"))
            _train(run, dry_run)
    except KeyboardInterrupt:
        if run.folder is None or not (run.folder / runs.CONFIG).exists():
            raise KeyboardInterrupt("Stopped before training. No files were written.") from None
        raise KeyboardInterrupt(_what_is_kept(run.folder)) from None


@dataclasses.dataclass
class Run:
    """Training run: its configuration, folder and locks."""

    config: Config
    folder: Path | None  # None until the default folder is created
    record: dict[str, Any]  # empty for a new run
    command: str
    locks: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)

    @property
    def kind(self) -> str:
        """Type of the model."""
        return self.config.get("model", {}).get("type", "model")


def _new_run(folder: Path | None, file: Path | None, values: dict[str, Any], command: str) -> Run:
    if folder is not None and folder.exists():
        options.check_folder(folder)
        _check_is_free(folder)
    config = {} if file is None else files.read_yaml(file)
    configuration.check(config)
    return Run(configuration.merged(config, values), folder, {}, command)


def _check_is_free(folder: Path) -> None:
    if not all(files.is_left_over(path) for path in folder.iterdir()):
        raise ValueError(
            f"--out must be a new or empty folder. Received: {folder}, which is not empty. Resume "
            f"its run with: keras-vq train --resume --out {shlex.quote(str(folder))}, or choose "
            "another --out."
        )


def _resumed_run(
    folder: Path | None, file: Path | None, values: dict[str, Any], command: str
) -> Run:
    if folder is None:
        raise ValueError("--resume requires a run folder: keras-vq train --resume --out DIR")
    foreign = sorted(set(values) - _WITH_RESUME) + (["--config"] if file else [])
    if foreign:
        raise ValueError(
            f"A resumed run uses the settings in its {runs.CONFIG}. Remove {foreign[0]}, or start "
            "a new run."
        )
    if not (folder / runs.CONFIG).is_file():
        raise ValueError(
            f"--out must be a folder with the {runs.CONFIG} of a run to resume. Received: {folder}"
        )
    config = configuration.merged(runs.read_config(folder), values)
    return Run(config, folder, runs.read_record(folder), command)


def _train(run: Run, dry_run: bool) -> None:
    from keras_vq_cli import building, checkpoints, figures

    run.config = configuration.with_whole_paths(run.config)
    train, test = building.load_images(run.config, progress=not session.current().quiet)
    run.config = building.completed(run.config, train.image_shape, len(train))
    _check_same_images(run, train)

    model_file = None if run.folder is None else run.folder / "model.keras"
    history: History = []
    if run.record and model_file is not None and model_file.exists():
        model, history = checkpoints.load(model_file)
    else:
        model = building.build_model(run.config, train.image_shape, len(train))
    if dry_run:
        _show_plan(run, model, train)
        return
    if _is_finished(run, history):
        return
    interrupts.check()
    folder = _write_config(run, train, test)
    if history:
        console.message(f"Resuming after epoch {len(history)}.")
        checkpoints.write_history(history, folder / "history.csv")
    else:
        building.initialize_codebook(model, run.config, train)
    interrupts.check()
    console.message(f"Training {run.kind} on {len(train):,} images of {train.name} in {folder}")
    _fit(run, folder, model, history, train, test)

    console.message(f"Evaluating on {len(test):,} test images ...")
    metrics = _write_results(run, folder, model, history, test)
    title = f"{run.kind} on {metrics['test_images']:,} test images"
    console.result(
        {"folder": str(folder), "metrics": metrics},
        figures.table(metrics, title),
        _where_to_look(folder, run.kind),
    )


def _show_plan(run: Run, model: keras.Model, train: ImageDataset) -> None:
    from keras_vq_cli import figures

    model.optimizer.build(model.trainable_variables)
    training = run.config["training"]
    steps = len(train.batches(training["batch_size"]))
    weights = [*model.variables, *model.optimizer.variables]
    plan = {
        "model": run.kind,
        "parameters": figures.parameters(model),
        "megabytes_of_weights_and_optimizer": round(
            sum(math.prod(weight.shape) * 4 for weight in weights) / 1e6, 3
        ),
        "bits_per_image": figures.bits_per_image(model, train.take(1).images),
        "train_images": len(train),
        "epochs": training["epochs"],
        "steps": training["epochs"] * steps,
        "folder": str(run.folder or f"runs/{run.kind}-{train.name}"),
    }
    console.plan(plan, config=run.config)


def _check_same_images(run: Run, train: ImageDataset) -> None:
    now = {"image_shape": list(train.image_shape), "train_images": len(train)}
    before = {name: run.record.get(name) for name in now}
    if run.record and now != before:
        raise ValueError(
            "The training images have changed since the start of the run. Start a new run. "
            f"Received: {now}. Before: {before}"
        )


def _is_finished(run: Run, history: History) -> bool:
    from keras_vq_cli.checkpoints import stops_early

    epochs, done = run.config["training"]["epochs"], len(history)
    if not done:
        return False
    if epochs < done:
        raise ValueError(
            f"--epochs must be at least {done}, the number of completed epochs. "
            f"Received: --epochs {epochs}"
        )
    assert run.folder is not None
    metrics = run.folder / "metrics.json"
    if not (epochs == done or stops_early(history, run.config["training"]["early_stopping"])):
        return False
    if not metrics.exists() or files.read_json(metrics).get("epochs") != done:
        return False
    plural = "s" if done > 1 else ""
    console.message(
        f"The run in {run.folder} is complete after {done} epoch{plural}. Set a larger --epochs to "
        "extend it."
    )
    return True


def _write_config(run: Run, train: ImageDataset, test: ImageDataset) -> Path:
    if run.folder is None:
        name = train.name.replace("/", "-").replace(":", "-")
        run.folder = _new_folder(Path("runs"), f"{run.kind}-{name}")
    run.folder.mkdir(parents=True, exist_ok=True)
    if not run.record:
        run.locks.enter_context(files.locked(run.folder))
        _check_is_free(run.folder)  # again, because another run may have started there since
    files.remove_left_overs(run.folder)
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    packages = ("keras-vq", "keras", "numpy", run.config["backend"])
    record = {
        "dataset": train.name,
        "image_shape": list(train.image_shape),
        "train_images": len(train),
        "test_images": len(test),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in packages},
        },
        "started": run.record.get("started", now),
        "command": run.record.get("command", run.command),
        "resumed_by": [*run.record.get("resumed_by", []), *([run.command] if run.record else [])],
    }
    files.write_json(run.folder / runs.RECORD, record)
    files.write_yaml(run.folder / runs.CONFIG, run.config)
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
    from keras_vq_cli.checkpoints import SaveEpochs, stops_early
    from keras_vq_cli.progress import TrainingProgress

    training, done = run.config["training"], len(history)
    if done == training["epochs"] or stops_early(history, training["early_stopping"]):
        return
    seed, batch_size = run.config["seed"], training["batch_size"]
    batches = train.batches(batch_size, shuffle=True, seed=seed, first_epoch=done)
    callbacks: list[Any] = [SaveEpochs(folder, history, training["early_stopping"])]
    with contextlib.ExitStack() as stack:
        if not session.current().quiet:
            progress = TrainingProgress(training["epochs"], done, len(batches))
            callbacks.append(stack.enter_context(progress))
        with _divergence_explained(run, history):
            model.fit(
                batches,
                validation_data=test.take(_VALIDATION_IMAGES).batches(batch_size),
                callbacks=callbacks,
                initial_epoch=done,
                epochs=training["epochs"],
                verbose=0,
            )


@contextlib.contextmanager
def _divergence_explained(run: Run, history: History) -> Iterator[None]:
    from keras_vq.models import NonFiniteLossError

    try:
        yield
    except NonFiniteLossError as error:
        kept = f"epoch {len(history)} is saved in {run.folder}" if history else "no epoch was saved"
        raise ValueError(
            f"Training diverged in epoch {len(history) + 1}: the loss is NaN or infinite "
            f"({kept}). Start a new run with a lower --learning-rate. "
            f"Received: {run.config['optimizer']['learning_rate']}"
        ) from error


def _write_results(
    run: Run, folder: Path, model: keras.Model, history: History, test: ImageDataset
) -> dict[str, Any]:
    from keras_vq import plots
    from keras_vq_cli import figures

    batch_size = run.config["training"]["batch_size"]
    metrics = figures.test_figures(model, test, batch_size)
    metrics["epochs"] = len(history)
    metrics["train_seconds"] = sum(row["seconds"] for row in history)
    images = test.take(_PICTURED).images
    of = f"{run.kind} on {test.name}"
    plots.plot_reconstructions(
        images,
        model.reconstruct(images, batch_size),
        folder / "reconstructions.png",
        title=f"{of}: test images, PSNR {metrics['psnr']:.1f} dB",
    )
    if run.kind == "vae":
        samples = model.generate(_SAMPLES, seed=run.config["seed"])
        plots.plot_samples(samples, folder / "samples.png", title=f"{of}: generated images")
    curves = {name: [row[name] for row in history] for name in history[0]}
    plots.plot_history(curves, folder / "history.png")
    # Written last, because this file marks a run as finished.
    files.write_json(folder / "metrics.json", metrics)
    return metrics


def _where_to_look(folder: Path, kind: str) -> str:
    samples = f"\n  {folder / 'samples.png'}  generated images" if kind == "vae" else ""
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
