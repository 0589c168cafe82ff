"""`keras-vq prior`: trains a prior on the codes or latents of a trained model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_vq_cli import configuration, console, models, options, session
from keras_vq_cli.files import shown, whole_file
from keras_vq_cli.images import of_model

if TYPE_CHECKING:
    import keras

PRIORS = ("pixel_cnn_prior", "transformer_prior", "masked_prior", "gaussian_mixture_prior")
_DETERMINED = ("codebook_size", "grid_shape", "condition_size", "condition_shape", "num_classes")
_EXAMPLES = """
Examples:
  keras-vq prior runs/vqvae-mnist --epochs 20
  keras-vq prior runs/vqvae-mnist --type transformer_prior --set num_layers=6 --labels
  keras-vq generate runs/vqvae-mnist
"""


@options.command(_EXAMPLES)
@models.model_argument
@options.option(
    "--type",
    "kind",
    type=options.Choice(PRIORS),
    help="Class of the prior.  [default: pixel_cnn_prior for codes, gaussian_mixture_prior for "
    "latents]",
)
@options.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Constructor argument, such as hidden_dim=128; may be repeated.",
)
@options.option("--labels", is_flag=True, help="Condition on the classes of the data set.")
@options.option(
    "--epochs", type=options.COUNT, default=10, show_default=True, help="Number of epochs."
)
@options.option(
    "--learning-rate",
    type=options.POSITIVE,
    default=1e-3,
    show_default=True,
    help="Learning rate of the Adam optimizer.",
)
@options.option("--seed", type=options.NATURAL, default=0, show_default=True, help="Random seed.")
@options.batch_size
@options.images()
@options.out("File to write, ending in .keras.  [default: prior.keras beside the model]")
@options.overwrite
@options.dry_run
def command(
    model: models.Source,
    kind: str | None,
    settings: tuple[str, ...],
    labels: bool,
    seed: int,
    images: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    dry_run: bool,
    **training: Any,
) -> None:
    """Trains a prior on the codes or latents of images.

    compress and generate use it; see keras-vq compress --prior.
    """
    if out is not None:
        options.check_out(out, (".keras",), overwrite)
    out = out or model.folder / "prior.keras"
    options.check_free(out, overwrite)
    arguments = configuration.parse_settings(settings)
    reading = {name: training.pop(name) for name in ("dataset", "skip_broken", "max_pixels")}
    loaded = model.load()

    import keras

    keras.utils.set_random_seed(seed)
    shape = loaded.input_shape[1:]
    train, test = (of_model(model, shape, images, test=test, **reading) for test in (False, True))
    classes = {}
    if labels:
        if train.labels is None:
            raise ValueError(f"--labels requires a data set with labels. Received: {train.name}")
        classes["num_classes"] = int(train.labels.max()) + 1
    prior = _built(loaded, kind, {**arguments, "seed": seed}, classes)
    if dry_run:
        plan = {"prior": type(prior).__name__, "train_images": len(train)}
        if hasattr(prior, "fit_codes"):
            batches = math.ceil(len(train) / training["batch_size"])
            plan |= {"epochs": training["epochs"], "steps": training["epochs"] * batches}
        console.plan({**plan, "path": str(out)})
        return
    console.message(f"Training {type(prior).__name__} on {len(train):,} images of {train.name}")
    figures = _fit(prior, loaded, train, test, labels, **training)
    out.parent.mkdir(exist_ok=True)  # named after the preset
    with whole_file(out) as beside:
        prior.save(beside)
    rows = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    console.result({"prior": str(out), **figures}, f"Written: {shown(out)} ({rows})")


def _built(
    loaded: keras.Model, kind: str | None, arguments: dict[str, Any], options: dict[str, Any]
) -> keras.Model:
    from keras_vq.models import VQVAE2, CodeModel
    from keras_vq.priors import HierarchicalPrior
    from keras_vq_cli import building

    has_codes = isinstance(loaded, CodeModel)
    kind = kind or (PRIORS[0] if has_codes else PRIORS[-1])
    if has_codes == (kind == PRIORS[-1]):
        raise ValueError(
            f"--type {kind} requires a model with {'latents' if has_codes else 'codes'}. "
            f"Received: a {type(loaded).__name__}"
        )
    section = building.complete({"type": kind, **arguments}, "prior", left_out=_DETERMINED)
    section.pop("type")
    member = building.class_of(kind, "prior")
    try:
        if not has_codes:
            return member(**section)
        if isinstance(loaded, VQVAE2):
            return HierarchicalPrior.for_model(loaded, member, member, **section, **options)
        return member.for_model(loaded, **section, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"prior: {error}") from error


def _fit(
    prior: keras.Model,
    loaded: keras.Model,
    train: Any,
    test: Any,
    labels: bool,
    epochs: int,
    learning_rate: float,
    batch_size: int,
) -> dict[str, float]:
    import contextlib

    import keras

    from keras_vq_cli.progress import TrainingProgress

    if not hasattr(prior, "fit_codes"):
        encode = getattr(loaded, "sample_latents", loaded.encode)
        history = prior.fit(encode(train.images, batch_size=batch_size))
        return {"loss": float(history.history["loss"][-1])}
    callbacks = []
    with contextlib.ExitStack() as stack:
        if not session.current().quiet:
            progress = TrainingProgress(epochs, 0, math.ceil(len(train) / batch_size))
            callbacks.append(stack.enter_context(progress))
        for part in (getattr(prior, "top", None), getattr(prior, "bottom", None), prior):
            if part is not None and hasattr(part, "compile"):
                part.compile(keras.optimizers.Adam(learning_rate))
        history = prior.fit_codes(
            loaded,
            train.batches(batch_size, with_labels=labels),
            validation_data=test.batches(batch_size, with_labels=labels),
            batch_size=batch_size,
            epochs=epochs,
            callbacks=callbacks,
            verbose=0,
        )
    return {name: float(values[-1]) for name, values in history.history.items()}
