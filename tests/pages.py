"""Runs the code of documentation pages."""

import re
from pathlib import Path

import keras

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))

# A fenced block, and the comment in the line before it that restricts it to one backend, or names
# what it needs beyond this package: it is then not run.
_BLOCK = re.compile(
    r"(?:<!-- (?:backend: (?P<backend>\w+)|(?P<needs>needs .*)) -->\n)?"
    r"^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_PRINTED = re.compile(r"^print\((.*)\)  # (.+)$", re.MULTILINE)


def run_page(path, names=None):
    """Runs the Python blocks of a page for this backend, with one epoch, and returns its names.

    What a line `print(...)  # text` prints must be the text, and what a block prints must be the
    block of the language `text` that follows it, if there is one.
    """
    page = path.read_text(encoding="utf-8")
    names = {"__name__": path.stem, **(names or {})}
    printed = []
    for block in _BLOCK.finditer(page):
        if block["language"] == "text":
            assert "\n".join(printed) == block["text"].strip("\n")
        is_for_all = block["backend"] in (None, keras.backend.backend()) and not block["needs"]
        if block["language"] != "python" or not is_for_all:
            continue
        code = re.sub(r"\bepochs=\d+", "epochs=1", block["text"])
        checked, printed = [], []
        names["print"] = lambda *values, printed=printed: printed.append(" ".join(map(str, values)))
        names["checked"] = lambda *values, checked=checked: checked.append(
            " ".join(map(str, values))
        )
        # Empty lines, so that tracebacks name the line of the page.
        above = "\n" * page.count("\n", 0, block.start("text"))
        code = above + _PRINTED.sub(r"checked(\1)", code)
        exec(compile(code, str(path), "exec"), names)  # trusted: part of this repository
        assert checked == [match[2] for match in _PRINTED.finditer(block["text"])]
    return names
