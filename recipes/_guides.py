"""Tables of the guides with figures of `recipes/results`."""

import json
import re

from recipes.common import FOLDER, shown

GUIDES = FOLDER.parents[1] / "docs" / "guides"
# A table below the name of the recipe whose figures it has.
_TABLE = re.compile(r"(?<=<!-- figures: )(\w+)( -->\n)((?:\|.*\n)+)")


def with_figures(page: str) -> str:
    """Returns a page with up-to-date figures in its tables.

    The first column has names of rows of the results, and the heading names of their columns;
    columns that the results do not have are kept.
    """

    def table(match: re.Match[str]) -> str:
        figures = json.loads((FOLDER / f"{match[1]}.json").read_text())["figures"]
        heading, ruler, *rows = map(_cells, match[3].splitlines())
        for row in rows:
            for place, column in enumerate(heading):
                if column in figures[row[0]]:
                    row[place] = shown(figures[row[0]][column])
        lines = ("| " + " | ".join(cells) + " |\n" for cells in (heading, ruler, *rows))
        return match[1] + match[2] + "".join(lines).replace("|  |", "| |")

    return _TABLE.sub(table, page)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
