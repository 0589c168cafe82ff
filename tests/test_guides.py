"""Tests of the guides: their code runs on each backend, and their links lead somewhere."""

import re
import socket

import pytest

from recipes._guides import with_figures
from tests.pages import GUIDES, ROOT, run_page


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_code_of_the_guide_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The variables that torchrun sets, for one process.
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(probe.getsockname()[1]))
    run_page(path)


@pytest.mark.backend_free
@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_form_of_the_guide(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), target
        assert linked.resolve().is_relative_to(ROOT)
        headings = re.findall(r"^#+ (.*)$", linked.read_text("utf-8"), re.M) if anchor else []
        anchors = {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in headings}
        assert not anchor or anchor in anchors, target


@pytest.mark.backend_free
@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_figures_of_the_guide_are_those_of_the_recipes(path):
    text = path.read_text(encoding="utf-8")
    assert with_figures(text) == text, "run: python -m recipes.readme"
