"""Tests of the guides: their code runs on each backend, and their links lead somewhere."""

import ast
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


def template(node):
    """Returns the text of a message, with "…" for the parts that differ from case to case."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return "…"


def messages(kind):
    """Returns the messages of warnings or errors in the source, by their places."""
    found = {}
    for folder in ("keras_vq", "keras_vq_cli"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                call = node.exc if isinstance(node, ast.Raise) and kind == "raise" else None
                if isinstance(node, ast.Call) and kind == "warn":
                    name = ast.unparse(node.func)
                    call = node if name in ("warnings.warn", "_LOG.warning") else None
                if isinstance(call, ast.Call) and call.args:
                    text = template(call.args[0]).replace("%s", "…")
                    found[f"{path.relative_to(ROOT)}:{node.lineno}"] = text
    return found


def listed():
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^> (.*)$", page, re.MULTILINE)


@pytest.mark.backend_free
def test_messages_of_the_page_on_troubleshooting_exist():
    source = [*messages("warn").values(), *messages("raise").values()]
    assert len(listed()) > 80
    assert [text for text in listed() if not any(text in message for message in source)] == []


@pytest.mark.backend_free
def test_every_warning_is_on_the_page_on_troubleshooting():
    warnings = messages("warn")
    assert len(warnings) >= 10
    missing = {
        place: message
        for place, message in warnings.items()
        if not any(text in message for text in listed())
    }
    assert missing == {}
