"""Tests of the style guide in CONTRIBUTING.md that linters cannot express."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("keras_vq", "keras_vq_cli", "recipes", "benchmarks")
# A docstring starts with a verb in the third person or with a noun phrase.
OPENINGS = re.compile(r"^(What|Whether|How|Which|That|By|As|Who|When|Where)\b")
# Figures of speech: code does not live, know, learn of or want something.
PHRASES = re.compile(
    r"\b(gone astray|laid beside|is told|are told|knows? (of|nothing)|wants? to know|hears? of|"
    r"speaks? of|makes? of (it|them)|stands? in (it|them)|a pixel of|nats a |bits a )",
    re.IGNORECASE,
)

pytestmark = pytest.mark.backend_free


def docstrings():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    text = ast.get_docstring(node)
                    if text:
                        yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


def test_docstrings_start_with_a_verb_or_a_noun():
    assert [where for where, text in docstrings() if OPENINGS.match(text)] == []


def test_docstrings_are_literal():
    found = {
        where: match.group() for where, text in docstrings() if (match := PHRASES.search(text))
    }
    assert found == {}
