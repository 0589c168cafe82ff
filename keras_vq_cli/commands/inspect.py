"""`keras-vq inspect`: prints class, sizes, codes, preprocessing and origin of a model."""

from __future__ import annotations

from typing import Any

from keras_vq_cli import console, models, options

_EXAMPLES = """
Examples:
  keras-vq inspect vqvae_mnist
  keras-vq inspect runs/vqvae-mnist --json
  keras-vq inspect hf://owner/name --input-shape 512,512,3
"""


@options.command(_EXAMPLES)
@models.model_argument
@models.conversion_options("any size; numbers per input are for 256 x 256 pixels or one second")
def command(model: models.Source, **conversion: Any) -> None:
    """Prints class, sizes, codes, preprocessing and origin of a model.

    The bits per input are those of equally likely codes.
    """
    loaded = model.load_any(**conversion)

    from keras_vq_cli import descriptions

    record = descriptions.describe(model, loaded)
    console.result(record, descriptions.table(record))
