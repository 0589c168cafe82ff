"""`keras-vq generate`: generates images with a prior of a trained model."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from keras_vq_cli import codecs, console, models, options
from keras_vq_cli.files import shown
from keras_vq_cli.images import write_png

_EXAMPLES = """
Examples:
  keras-vq prior runs/vqvae-mnist --labels && keras-vq generate runs/vqvae-mnist --label 7
  keras-vq generate vae_mnist -n 100 --out digits.png
  keras-vq generate runs/vqvae-mnist -n 1000 --seed 0 --out digits/
"""


@options.command(_EXAMPLES)
@models.model_argument
@options.option(
    "-n", "--count", type=options.COUNT, default=16, show_default=True, help="Number of images."
)
@codecs.prior_option("prior.keras beside the model; the standard normal for a VAE without one")
@options.option("--label", type=options.NATURAL, help="Class, for a prior trained with --labels.")
@options.option("--temperature", type=options.POSITIVE, help="Below 1: less variety.  [default: 1]")
@options.option("--top-k", type=options.COUNT, help="Sample from the most likely codes only.")
@options.option(
    "--top-p",
    type=options.Number(min=0, max=1, min_open=True),
    help="Sample from the most likely codes with this total probability.",
)
@options.option(
    "--guidance", type=options.NOT_NEGATIVE, help="Scale of classifier-free guidance to --label."
)
@options.option("--seed", type=options.NATURAL, help="Random seed.  [default: another each time]")
@options.batch_size
@options.out(
    "Picture of all images: .png, .pdf or .svg; or a folder, for one PNG file per image.  "
    "[default: samples-of-NAME.png]"
)
@options.overwrite
@options.dry_run
def command(
    model: models.Source,
    count: int,
    prior: Path | None,
    label: int | None,
    batch_size: int,
    out: Path | None,
    overwrite: bool,
    dry_run: bool,
    **sampling: Any,
) -> None:
    """Generates images by decoding samples of a prior.

    Train a prior with keras-vq prior. A VAE needs none.
    """
    out = out or Path(f"samples-of-{model.name}.png")
    is_picture = bool(out.suffix) or out.is_file()
    options.check_out(out if is_picture else out.with_suffix(".png"), options.PICTURES)
    paths = [out] if is_picture else [out / f"{number:05}.png" for number in range(count)]
    for path in paths:
        options.check_free(path, overwrite)
    loaded = model.load()
    sampler = _sampler(loaded, model, prior)
    arguments = _arguments(loaded, sampler, {"labels": label, **sampling})
    if dry_run:
        kind = "standard normal" if sampler is None else type(sampler).__name__
        plan = {"images": count, "image_shape": [*loaded.input_shape[1:]], "prior": kind}
        console.plan({**plan, "path": str(out)})
        return
    images = loaded.generate(count, prior=sampler, batch_size=batch_size, **arguments)
    if is_picture:
        from keras_vq import plots

        plots.plot_samples(images, out)
    else:
        out.mkdir(exist_ok=True)
        for image, path in zip(images, paths, strict=True):
            write_png(image, path)
    console.result({"files": [str(path) for path in paths]}, f"Written: {shown(out)}")


def _sampler(loaded: Any, model: models.Source, prior: Path | None) -> Any:
    """Loads the prior; returns `None` for the standard normal distribution of a VAE."""
    import keras_vq

    beside = model.folder / "prior.keras"
    file = prior or (beside if beside.is_file() else None)
    if not hasattr(loaded, "generate") or (file is None and not isinstance(loaded, keras_vq.VAE)):
        raise ValueError(
            f"The model has no prior. Train one: keras-vq prior {model.name}. Received: {beside}, "
            "which does not exist"
        )
    return None if file is None else keras_vq.load_model(file, compile=False)


def _arguments(loaded: Any, sampler: Any, sampling: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `generate`; fails on one that the prior does not have."""
    given = {name: value for name, value in sampling.items() if value is not None}
    known = inspect.signature(loaded.generate if sampler is None else sampler.generate).parameters
    kind = "the standard normal prior" if sampler is None else type(sampler).__name__
    for name in given:
        if name not in known:
            option = name.removesuffix("s").replace("_", "-")
            raise ValueError(f"--{option} is not supported by {kind}. Remove it.")
    return given
