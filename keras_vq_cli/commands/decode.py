"""`keras-vq decode`: decodes rows of encoded data sets to PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_vq_cli import console, models, options
from keras_vq_cli.files import shown
from keras_vq_cli.images import write_png

_MOST_AT_ONCE = 1024
_EXAMPLES = """
Examples:
  keras-vq decode codes --model runs/vqvae-mnist --rows 0:100 --out images
  keras-vq decode codes --model vqvae_mnist --source mnist-test --out images
"""


class Rows(click.ParamType):
    """Range of rows START:STOP, either of which may be left out, as a slice."""

    name = "START:STOP"

    def convert(self, value: Any, param: Any, ctx: Any) -> slice:
        """Converts text such as "0:100"."""
        if isinstance(value, slice):
            return value
        start, colon, stop = value.partition(":")
        if not colon or not all(not part or part.isdecimal() for part in (start, stop)):
            self.fail(f"{value!r} is not a range of rows such as 0:100.", param, ctx)
        return slice(int(start or 0), int(stop) if stop else None)


@options.command(_EXAMPLES)
@click.argument("codes", metavar="CODES", type=click.Path(path_type=Path))
@models.model_option("", required=True)
@options.out("Folder of PNG files, created if missing.", required=True)
@options.option("--source", "sources", multiple=True, help="Source in CODES.  [default: all]")
@options.option(
    "--rows", type=Rows(), default=":", help="Rows to decode, without STOP.  [default: all]"
)
@options.batch_size
@options.overwrite
@options.dry_run
def command(
    codes: Path,
    model: models.Source,
    out: Path,
    sources: tuple[str, ...],
    rows: slice,
    batch_size: int,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Decodes rows of encoded data sets to PNG files.

    CODES is a folder of keras-vq encode, and MODEL the model that encoded it. Files have the names
    of the rows, SOURCE-ROW.png.
    """
    options.check_folder(out)
    loaded = model.load()

    from keras_vq._fingerprint import fingerprint
    from keras_vq.encoding import CodeDataset

    stored = CodeDataset(codes, sources or None)
    found = fingerprint(loaded).hex()
    if stored.model["fingerprint"] != found:
        raise ValueError(
            f"--model must be the model that encoded {shown(codes)}, a {stored.model['class']} "
            f"with the fingerprint {stored.model['fingerprint']}. Received: {model.name} with the "
            f"fingerprint {found}"
        )
    chosen = range(stored.rows)[rows]
    if not chosen:
        raise ValueError(
            f"--rows must contain at least one of the {stored.rows:,} rows. "
            f"Received: {rows.start}:{'' if rows.stop is None else rows.stop}"
        )
    if dry_run:
        console.plan({"images": len(chosen), "folder": str(out)})
        return
    out.mkdir(exist_ok=True)
    written = []
    for start in range(0, len(chosen), _MOST_AT_ONCE):
        ids, rows_read = stored.read(chosen[start], chosen[start : start + _MOST_AT_ONCE][-1] + 1)
        paths = [out / f"{name.replace(':', '-')}.png" for name in ids]
        for path in paths:
            options.check_free(path, overwrite)
        for image, path in zip(loaded.decode(rows_read, batch_size), paths, strict=True):
            write_png(image, path)
        written += [str(path) for path in paths]
    console.result({"files": written}, f"Written: {len(written):,} images in {shown(out)}")
