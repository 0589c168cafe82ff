"""Tests of the documentation site: a page for each public object, and checked links."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_vq

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))

import build_site  # noqa: E402
import check_links  # noqa: E402

pytestmark = pytest.mark.backend_free


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    site = build_site.Site(ROOT, tmp_path_factory.mktemp("pages"))
    build_site.write_reference(site)
    return site


def test_every_public_object_has_a_page(reference):
    rooms = build_site.rooms()
    assert set(rooms) == {name for name in keras_vq.__all__ if name.islower() and "_" not in name}
    for room, names in rooms.items():
        module = importlib.import_module(f"keras_vq.{room}")
        assert sorted(names) == sorted(module.__all__)
        assert {f"reference/{room}/{name}.md" for name in names} <= reference.written


def test_every_markdown_file_of_the_documentation_is_in_a_tab():
    shown = {
        file for patterns in build_site.TABS.values() for file in build_site.files_of(patterns)
    }
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert found <= shown


def test_pages_link_to_the_line_of_the_definition(reference):
    page = (reference.pages / "reference/networks/convolutional.md").read_text()
    lines = (ROOT / "keras_vq/networks/convolutional.py").read_text().splitlines()
    link, _, number = page.partition("#__codelineno-0-")
    assert link.endswith("(../../source/keras_vq/networks/convolutional.py.md")
    assert lines[int(number.partition(")")[0]) - 1].startswith("def convolutional(")


def test_the_command_has_a_section_for_each_of_its_commands():
    text = "\n".join(build_site.command_page())
    listed = (
        subprocess.run(
            [sys.executable, "-m", "keras_vq_cli", "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        .stdout.partition("Commands:\n")[2]
        .partition("\n\n")[0]
    )
    commands = set(re.findall(r"^ {2}(\w+)", listed, re.MULTILINE))
    assert commands == set(build_site.COMMANDS)
    assert all(f"## keras-vq {command}\n" in text for command in commands)
    inner = re.findall(r"^## keras-vq presets (.*)$", text, re.MULTILINE)
    assert inner == ["info", "list"]


def test_links_between_files_become_links_between_pages(tmp_path):
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    (root / "a.py").write_text("x = 1\n")
    (root / "picture.png").write_bytes(b"")
    (root / "README.md").write_text("# Head\n")
    (root / "docs" / "page.md").write_text(
        "[r](../README.md#head) [c](../a.py) ![p](../picture.png) [w](https://a.b) [s](#x)\n"
        "```\n[r](../README.md)\n```\n"
    )
    site = build_site.Site(root, tmp_path / "pages")
    site.page_of = {"README.md": "index.md", "docs/page.md": "guides/page.md"}
    build_site.add_markdown(site, "docs/page.md")
    assert (site.pages / "guides/page.md").read_text() == (
        "[r](../index.md#head) [c](../source/a.py.md) ![p](../images/picture.png) "
        "[w](https://a.b) [s](#x)\n```\n[r](../README.md)\n```\n"
    )
    assert "x = 1" in (site.pages / "source/a.py.md").read_text()
    (root / "docs" / "page.md").write_text("[r](missing.md)")
    with pytest.raises(ValueError, match=r"must link to a file. Received: docs/missing.md"):
        build_site.add_markdown(site, "docs/page.md")


def test_broken_links_and_anchors_are_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<h1 id="top">a</h1><a name="old"></a>')
    (tmp_path / "index.html").write_text(
        '<a href="sub/#top"></a><a href="sub/index.html#old"></a><a href="https://a.b/#c"></a>'
        '<a href="#here"></a><p id="here"></p>'
    )
    assert check_links.broken_links(tmp_path) == []
    (tmp_path / "other.html").write_text(
        '<img src="p.png"><a href="sub/#missing"></a><a href="#nowhere"></a>'
    )
    assert check_links.broken_links(tmp_path) == [
        "other.html: no file p.png",
        "other.html: no anchor sub/#missing",
        "other.html: no anchor #nowhere",
    ]
