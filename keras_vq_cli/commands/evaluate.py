"""`keras-vq evaluate`: computes losses, errors and codebook usage on images."""

from __future__ import annotations

from typing import Any

from keras_vq_cli import console, models, options
from keras_vq_cli.images import of_model

_EXAMPLES = """
Examples:
  keras-vq evaluate runs/vqvae-mnist
  keras-vq evaluate vqvae_mnist --dataset mnist --json
  keras-vq evaluate runs/vqvae-photos --images holiday/
"""


@options.command(_EXAMPLES)
@models.model_argument
@options.images()
@options.option("--count", type=options.COUNT, help="Maximum number of images.  [default: all]")
@options.batch_size
def command(
    model: models.Source,
    images: tuple[str, ...],
    count: int | None,
    batch_size: int,
    **reading: Any,
) -> None:
    """Computes the losses and metrics of a trained model on test images.

    The errors mse and psnr are those of reconstructions clipped to [0, 1].
    """
    loaded = model.load()

    from keras_vq_cli import figures

    data = of_model(model, loaded.input_shape[1:], images, **reading)
    data = data if count is None else data.take(count)
    console.message(f"Evaluating on {len(data):,} images ...")
    loaded.compile(loss=model.config.get("training", {}).get("loss"))
    found = figures.test_figures(loaded, data, batch_size)
    console.result(found, figures.table(found, f"{model.name} on {len(data):,} images"))
