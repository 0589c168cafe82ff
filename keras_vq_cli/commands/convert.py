"""`keras-vq convert`: converts a model of another library, or writes one for diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_vq_cli import console, files, models, options

if TYPE_CHECKING:
    import keras

FORMATS = ("keras", "diffusers")
_EXAMPLES = """
Examples:
  keras-vq convert hf://owner/name --out my-vq
      a folder for all commands and for from_preset
  keras-vq convert vqgan.safetensors --out vqgan.keras --input-shape 256,256,3
      one file, for images of one size, as export and compress need it
  keras-vq convert runs/vqvae-photos --format diffusers --out for-diffusers
      a model with the network latent_diffusion or tiny_autoencoder, for users of diffusers
"""


@options.command(_EXAMPLES)
@click.argument("model", metavar="SOURCE", type=models.ModelType())
@options.out(
    "File ending in .keras, or folder to write, which is a preset or a folder of diffusers.",
    required=True,
)
@options.option(
    "--format",
    type=options.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="keras: model.keras and preset.json. diffusers: config.json and a safetensors file.",
)
@models.conversion_options("any size")
@options.overwrite
@options.dry_run
def command(
    model: models.Source,
    out: Path,
    format: str,
    overwrite: bool,
    dry_run: bool,
    **conversion: Any,
) -> None:
    """Converts a model of another library, or writes one for diffusers.

    SOURCE is a folder with config.json and safetensors files, a .safetensors file,
    hf://OWNER/NAME[@REVISION][/PATH], or any model of this package.
    """
    is_file = format == "keras" and out.suffix == ".keras"
    _check_target(out, format, is_file, overwrite)
    loaded = model.load_any(**conversion)

    from keras_vq_cli import descriptions

    if dry_run:
        console.plan({"path": str(out), "format": format, **descriptions.describe(model, loaded)})
        return
    console.message(f"Writing {files.shown(out)} ...")
    if is_file:
        with files.whole_file(out) as beside:
            loaded.save(beside)
    else:
        _write_folder(loaded, model, out, format, overwrite)
    written = models.named(str(out))
    record = {
        "path": str(out),
        **descriptions.describe(model, loaded),
        "model": written.name,
        "file_bytes": descriptions.file_bytes(written),
    }
    console.result(record, descriptions.table(record), f"Written: {files.shown(out)}")


def _check_target(out: Path, format: str, is_file: bool, overwrite: bool) -> None:
    """Raises ValueError for a path that can't be written, before the slow import of Keras."""
    if not is_file and (out.suffix in (".keras", ".safetensors") or out.is_file()):
        kind = "a folder" if format == "diffusers" else "a folder or a .keras file"
        raise ValueError(f"--out must be {kind}. Received: {files.shown(out)}")
    if is_file:
        options.check_out(out, (".keras",), overwrite)
        if out.is_dir():
            raise ValueError(f"--out must be a file. Received: the folder {files.shown(out)}")
    elif out.is_dir() and any(out.iterdir()):
        options.check_free(out, overwrite)
        mark = "config.json" if format == "diffusers" else models.PRESET_RECORD
        if not (out / mark).is_file():
            raise ValueError(
                f"--out must be new, empty, or a folder with {mark} to replace. "
                f"Received: {files.shown(out)}, which contains other files"
            )


def _write_folder(
    loaded: keras.Model, model: models.Source, out: Path, format: str, overwrite: bool
) -> None:
    if format == "diffusers":
        from keras_vq.pretrained import save_as_diffusers

        save_as_diffusers(loaded, out, overwrite=overwrite or out.is_dir())
        return
    source = (loaded.provenance or {}).get("source", model.name)
    description = f"{type(loaded).__name__} converted from {source}"
    loaded.save_to_preset(out, description=description, overwrite=overwrite)
