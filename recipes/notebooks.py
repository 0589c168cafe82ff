"""Builds and executes the notebooks in `notebooks/`.

The source of a notebook is a Python script in jupytext's percent format,
`notebooks/scripts/NAME.py`, which is reviewed, linted and tested as code. This command converts it
to `notebooks/NAME.ipynb` with all outputs. `--small` uses few images and one epoch, for tests.

Run: python -m recipes.notebooks [--only NAME] [--out notebooks] [--small]
"""

import argparse
import os
import re
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from rich.console import Console

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "notebooks" / "scripts"
SMALL = "EPOCHS = 1\nIMAGES = 256"
SECONDS = 3600
FROM_TENSORFLOW = re.compile("(WARNING|INFO):tensorflow:")


def main() -> None:
    names = sorted(path.stem for path in SCRIPTS.glob("*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=names, help="one notebook only")
    parser.add_argument("--out", type=Path, default=SCRIPTS.parent, help="where to write")
    parser.add_argument("--small", action="store_true", help="few images, one epoch")
    arguments = parser.parse_args()
    for name in names:
        if arguments.only in (None, name):
            Console().print(f"{name} ...")
            notebook = executed(name, arguments.small)
            beside = arguments.out / f"{name}.ipynb.part"
            nbformat.write(notebook, beside)
            beside.replace(arguments.out / f"{name}.ipynb")


def executed(name: str, small: bool) -> nbformat.NotebookNode:
    """Converts and executes a script; returns the notebook with its outputs."""
    notebook = jupytext.read(SCRIPTS / f"{name}.py")
    if small:
        place = next(
            index
            for index, cell in enumerate(notebook.cells)
            if "parameters" in cell.metadata.get("tags", [])
        )
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(SMALL))
    # Imports resolve as for a user who starts Jupyter in the root of the repository.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(ROOT)}})
    client.execute()
    return without_noise(notebook)


def without_noise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Removes standard error output and cell timings."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = merged([out for out in cell.outputs if out.get("name") != "stderr"])
    return notebook


def merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Merges consecutive outputs on standard output."""
    found: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.get("name") == "stdout" and found and found[-1].get("name") == "stdout":
            found[-1].text += output.text
        else:
            found.append(output)
    for output in found:
        if output.get("name") == "stdout":
            output.text = as_on_a_screen(output.text)
    return [output for output in found if output.get("text") != ""]


def as_on_a_screen(text: str) -> str:
    """Keeps the final state of progress bars; removes colors and messages of TensorFlow."""
    text = re.sub(r"\x1b\[[0-9;]*m|\x08", "", text)
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return "\n".join(line for line in lines if not FROM_TENSORFLOW.match(line))


if __name__ == "__main__":
    main()
