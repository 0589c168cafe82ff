"""Tests of the README: up-to-date generated parts, existing links, and a short example."""

from pathlib import Path

import pytest

from recipes import readme

pytestmark = pytest.mark.backend_free

ROOT = Path(__file__).parents[1]


def test_generated_parts_are_up_to_date():
    for page in (readme.README, readme.FIGURES):
        text = page.read_text()
        assert readme.filled(text) == text, "run: python -m recipes.readme"
    assert (readme.FOLDER / "README.md").read_text() == readme.table_of_results()
    assert readme.LIST.read_text() == readme.list_of_recipes()


@pytest.mark.parametrize(
    "name",
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "recipes/README.md", "notebooks/README.md"],
)
def test_files_that_a_document_links_to_exist(name):
    import re

    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
        assert ((ROOT / name).parent / target).exists(), target


def test_the_example_has_about_fifteen_lines():
    code = readme.QUICKSTART.read_text().partition('"""\n\n')[2]
    assert len([line for line in code.splitlines() if line]) <= 15
