"""`keras-vq encode`: encodes a data set to codes in Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_vq_cli import console, models, options, session
from keras_vq_cli.files import shown

if TYPE_CHECKING:
    import keras

_ARRAY = ".npy"
_EXAMPLES = """
Examples:
  keras-vq encode mnist --model runs/vqvae-mnist --out codes
  keras-vq encode photos/ --model runs/vqvae-photos --out codes --skip-broken
  keras-vq encode images.npy --model vqvae_mnist --out codes --name images
"""


@options.command(_EXAMPLES)
@click.argument("source", metavar="SOURCE")
@models.model_option("", required=True)
@options.out("Folder of Parquet files, created if missing.", required=True)
@options.option("--split", help="Split of the data set.  [default: train]")
@options.option("--name", help="Beginning of the file names.  [default: from SOURCE and --split]")
@options.option(
    "--rows-per-shard",
    type=options.COUNT,
    default=100_000,
    show_default=True,
    help="Number of rows of each file except the last.",
)
@options.batch_size
@options.image_reading
@options.dry_run
def command(
    source: str,
    model: models.Source,
    out: Path,
    split: str | None,
    name: str | None,
    dry_run: bool,
    skip_broken: bool,
    max_pixels: int | None,
    **encoding: Any,
) -> None:
    """Encodes a data set to codes in Parquet files.

    SOURCE is a data set or image folder, as --dataset of keras-vq train, or a .npy file of images:
    uint8, or floats in the range of the model. A repeated command encodes what is missing; another
    SOURCE adds files and changes none.
    """
    options.check_folder(out)
    is_array = source.endswith(_ARRAY)
    if is_array and not Path(source).is_file():
        raise ValueError(f"SOURCE must be an existing file. Received: {shown(source)}")
    if is_array and (split is not None or skip_broken or max_pixels is not None):
        raise ValueError(
            "--split, --skip-broken and --max-pixels require a data set or an image folder. "
            f"Received: {shown(source)}"
        )
    loaded = model.load()
    if is_array:
        name = name or Path(source).stem
        data = _array(source)
    else:
        limit = {} if max_pixels is None else {"max_pixels": max_pixels}
        data = _images(source, split or "train", loaded, skip_broken=skip_broken, **limit)

    from keras_vq.encoding import encode_dataset

    if dry_run:
        console.plan({"source": source, "rows": len(data), "folder": str(out)})
        return
    console.message(f"Encoding {len(data):,} rows of {shown(source)} ...")
    codes = encode_dataset(
        data, loaded, out, name=name, progress=not session.current().quiet, **encoding
    )
    stored = sum(path.stat().st_size for path in codes.files)
    record = {
        "folder": str(out),
        "source": codes.sources[0],
        "rows": codes.rows,
        "code_shape": [*codes.code_shape],
        "codebook_sizes": [*codes.codebook_sizes],
        "skipped": list(getattr(data, "skipped", ())),
        "files": [str(path) for path in codes.files],
        "bytes": stored,
    }
    text = f"Written: {codes.rows:,} rows in {shown(out)}, {stored:,} bytes"
    console.result(record, text)


def _array(path: str) -> Any:
    import numpy as np

    from keras_vq.data import ImageDataset

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"SOURCE must be a .npy file of numbers ({error}). Received: {path}"
        ) from error
    return ImageDataset(array) if array.dtype == np.uint8 and array.ndim == 4 else array


def _images(source: str, split: str, model: keras.Model, **reading: Any) -> Any:
    from keras_vq.data import load

    *size, channels = model.input_shape[1:]
    data = load(
        source,
        split,
        image_size=None if None in size else size,
        progress=not session.current().quiet,
        **reading,
    )
    if data.image_shape[-1] != channels:
        kinds = {1: "gray", 3: "color"}
        raise ValueError(
            f"The images of SOURCE must have {channels} channels, as the inputs of the model. "
            f"Received: {kinds.get(data.image_shape[-1], 'other')} images in {source}"
        )
    return data
