"""Builder of the documentation site.

Run `python docs/build_site.py`, which writes `build/site`. With `--serve`, the site is shown at
http://localhost:8000.

Pages are the Markdown files of the repository, and generated ones: one for each public object, each
recipe with results, each notebook and each source file that a page links to. Links between files of
the repository become links between pages.
"""

import argparse
import ast
import functools
import http.server
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import check_links  # noqa: E402

PACKAGE = "keras_vq"
# Functions of a registry, documented once for all namespaces that have them.
LOOKUPS = ("get", "serialize", "deserialize")
COMMANDS = sorted(path.stem for path in (ROOT / "keras_vq_cli" / "commands").glob("[!_]*.py"))
HIDDEN = "search:\n  exclude: true\n"
# Titles of the tabs, with the files of the repository that they contain.
TABS: dict[str, tuple[str, ...]] = {
    "Start": ("README.md", "docs/installation.md", "docs/features.md"),
    "Guides": (
        "docs/guides/README.md",
        "docs/guides/quantizer_in_your_model.md",
        "docs/guides/your_own_images.md",
        "docs/guides/codebook_collapse.md",
        "docs/guides/choosing_a_quantizer.md",
        "docs/guides/latents_and_codes.md",
        "docs/guides/encoding_data_sets.md",
        "docs/guides/sequences_tables_volumes.md",
        "docs/guides/masks_and_lengths.md",
        "docs/guides/several_devices.md",
        "docs/guides/saving_and_serving.md",
        "docs/guides/troubleshooting.md",
        "docs/guides/*.md",
        "docs/command_line.md",
        "docs/models.md",
        "docs/quantizers.md",
        "docs/generation.md",
        "docs/compression.md",
        "docs/pretrained.md",
        "docs/export.md",
        "docs/performance.md",
    ),
    "Notebooks": ("notebooks/README.md", "notebooks/*.ipynb"),
    "Reference": (),
    "Gallery": (),
    "Results": (
        "docs/figures.md",
        "recipes/README.md",
        "recipes/results/README.md",
        "benchmarks/results/README.md",
        "saved_models/README.md",
        "saved_models/EXPORTS.md",
    ),
    "Project": (
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "CODE_OF_CONDUCT.md",
        "SECURITY.md",
        "ARCHITECTURE.md",
        "docs/licenses.md",
    ),
}


class Site:
    """The pages of the site, by their paths, and the files that they show.

    Args:
        root: Folder of the repository.
        pages: Folder of the pages, which is emptied.
    """

    def __init__(self, root: Path, pages: Path) -> None:
        self.root = root
        self.pages = pages
        self.page_of: dict[str, str] = {}  # file of the repository -> page
        self.written: set[str] = set()
        shutil.rmtree(pages, ignore_errors=True)

    def write(self, page: str, text: str) -> None:
        """Writes a page."""
        path = self.pages / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.written.add(page)

    def link(self, page: str, file: str, anchor: str = "") -> str:
        """Returns the link from a page to a file of the repository, as a page or an image.

        Raises:
            ValueError: If there is no such file.
        """
        path = self.root / file
        if not path.is_file():
            raise ValueError(f"The page {page} must link to a file. Received: {file}")
        target = self.page_of.get(file)
        if target is None and path.suffix in (".png", ".gif", ".svg"):
            target = f"images/{file}"
            (self.pages / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, self.pages / target)
        elif target is None:
            target = self.source_page(file)
        return posixpath.relpath(target, posixpath.dirname(page)) + anchor

    def source_page(self, file: str) -> str:
        """Returns the page with the code of a file, and writes it if it is missing."""
        page = f"source/{file}.md"
        if page not in self.written:
            path = self.root / file
            language = {".py": "python", ".mjs": "javascript", ".sh": "bash"}.get(
                path.suffix, "text"
            )
            code = path.read_text(encoding="utf-8")
            self.write(
                page,
                f"---\ntitle: {path.name}\n{HIDDEN}---\n\n# {path.name}\n\n`{file}`\n\n"
                f'`````` {{ .{language} linenums="1" }}\n{code}``````\n',
            )
        return page


def page_name(file: str) -> str:
    """Returns the page of a Markdown file or notebook of the repository."""
    if file == "README.md":
        return "index.md"
    stem, _ = posixpath.splitext(file.removeprefix("docs/"))
    if stem.endswith("/README"):
        return stem.removesuffix("README") + "index.md"
    return f"{stem.lower()}.md"


def add_markdown(site: Site, file: str) -> str:
    """Writes the page of a Markdown file of the repository, with links between pages."""
    page = site.page_of[file]

    def replaced(match: re.Match[str]) -> str:
        label, target = match.groups()
        target, _, anchor = target.partition("#")
        if not target or ":" in target:
            return match[0]
        linked = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
        return f"{label}({site.link(page, linked, f'#{anchor}' if anchor else '')})"

    text = (site.root / file).read_text(encoding="utf-8")
    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [re.sub(r"(\[[^\]]*\])\(([^)\s]+)\)", replaced, part) for part in parts[::2]]
    site.write(page, "".join(parts))
    return page


def add_notebook(site: Site, file: str) -> str:
    """Writes the page of a notebook, and its pictures."""
    from nbconvert import MarkdownExporter

    page = site.page_of[file]
    text, resources = MarkdownExporter().from_filename(str(site.root / file))
    for name, picture in resources["outputs"].items():
        unique = f"{Path(file).stem}_{name}"
        path = site.pages / Path(page).with_name(unique)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
        text = text.replace(f"({name})", f"({unique})")
    site.write(page, text)
    return page


# Reference.


@functools.cache
def package() -> griffe.Module:
    """Returns the package as parsed by griffe."""
    loaded = griffe.load(PACKAGE, search_paths=[ROOT], resolve_aliases=True)
    assert isinstance(loaded, griffe.Module)
    return loaded


def rooms() -> dict[str, list[str]]:
    """Returns the public names of each public module of the package."""
    top = [str(name) for name in package().exports or ()]
    modules = [name for name in top if package()[name].is_module]
    return {name: [str(each) for each in package()[name].exports or ()] for name in modules}


def identifier(room: str, name: str) -> str:
    """Returns the path of the definition of a public name.

    The public path may also be that of a submodule, as in `networks.convolutional`.
    """
    if name in LOOKUPS:
        return f"{PACKAGE}._registry.Registry.{name}"
    return package()[room].imports.get(name, f"{PACKAGE}.{room}.{name}")


def definition(room: str, name: str) -> griffe.Object:
    """Returns the definition of a public name."""
    found = package()[identifier(room, name).removeprefix(f"{PACKAGE}.")]
    return found.final_target if isinstance(found, griffe.Alias) else found


def summary(thing: griffe.Object) -> str:
    """Returns the first sentence of a docstring.

    Raises:
        ValueError: If there is no docstring.
    """
    if not thing.docstring:
        raise ValueError(f"{thing.path} must have a docstring.")
    return " ".join(thing.docstring.value.partition("\n\n")[0].split())


def file_of(thing: griffe.Object) -> str:
    """Returns the file of a definition, relative to the repository."""
    assert isinstance(thing.filepath, Path)
    return thing.filepath.relative_to(ROOT).as_posix()


def write_reference(site: Site) -> list[Any]:
    """Writes a page for each public object, an index of each room, and the command's page."""
    top = {str(name) for name in package().exports or ()}
    navigation: list[Any] = ["reference/index.md"]
    index = ["# Reference", "", f"`import {PACKAGE}`: each public object has a page.", ""]
    for room, names in rooms().items():
        head = summary(package()[room])
        table = [f"# {PACKAGE}.{room}", "", head, "", "| name | |", "| --- | --- |"]
        pages: list[Any] = [f"reference/{room}/index.md"]
        for name in names:
            thing = definition(room, name)
            page = f"reference/{room}/{name}.md"
            paths = [f"`{PACKAGE}.{room}.{name}`"]
            if name in top:
                paths.insert(0, f"`{PACKAGE}.{name}`")
            source = site.link(page, file_of(thing), f"#__codelineno-0-{thing.lineno}")
            site.write(
                page,
                f"---\ntitle: {name}\n---\n\n"
                f"::: {identifier(room, name)}\n    options:\n      heading: {name}\n"
                f"      toc_label: {name}\n\n"
                f"---\n\n{' or '.join(paths)}, defined in [{file_of(thing)}]({source}).\n",
            )
            pages.append({name: page})
            table.append(f"| [`{name}`]({name}.md) | {summary(thing)} |")
        site.write(f"reference/{room}/index.md", "\n".join([*table, ""]))
        navigation.append({room: pages})
        index += [f"## [{room}]({room}/index.md)", "", head, ""]
        index += [", ".join(f"[`{name}`]({room}/{name}.md)" for name in names), ""]
    index += ["## [Command line](command.md)", "", "The command `keras-vq`.", ""]
    site.write("reference/index.md", "\n".join(index))
    site.write("reference/command.md", "\n".join(command_page()))
    return [*navigation, {"Command line": "reference/command.md"}]


def command_page() -> Iterator[str]:
    """Yields the lines of the page with the help texts of the command."""
    yield from ("# Command line", "")
    environment = {**os.environ, "COLUMNS": "88"}
    listed = ["", *COMMANDS]
    for command in listed:
        arguments = [*command.split(), "--help"]
        text = subprocess.run(
            [sys.executable, "-m", "keras_vq_cli", *arguments],
            capture_output=True,
            check=True,
            cwd=ROOT,
            env=environment,
            text=True,
        ).stdout
        if command:  # a group of commands
            inner = text.partition("\nCommands:\n")[2].partition("\n\n")[0]
            names = re.findall(r"^ {2}([\w-]+)", inner, re.MULTILINE)
            place = listed.index(command) + 1
            listed[place:place] = [f"{command} {name}" for name in names]
        yield from (f"## keras-vq {command}".rstrip(), "", "```text", text.rstrip(), "```", "")


# Gallery.


def write_gallery(site: Site) -> list[Any]:
    """Writes a page for each recipe with results, and an index with pictures."""
    from recipes import readme
    from recipes.common import columns_of, shown

    index = [
        "# Gallery",
        "",
        "Recipes with their pictures and figures.",
        "",
        '<div class="gallery" markdown="1">',
    ]
    plain = ["", "## Without pictures", ""]
    navigation: list[Any] = ["gallery/index.md"]
    for path in sorted(readme.FOLDER.glob("*.json")):
        stem = path.stem
        script = f"recipes/{stem}.py"
        if not (site.root / script).is_file():
            continue  # results of a recipe with other options
        docstring = ast.get_docstring(ast.parse((site.root / script).read_text(encoding="utf-8")))
        assert docstring is not None
        title, _, rest = docstring.partition("\n")
        title = title.partition(" Run:")[0]
        rest = re.sub(r"^Run: (.*)$", r"Run: `\1`", rest.strip(), flags=re.MULTILINE)
        record = readme.results(stem)
        page = f"gallery/{stem}.md"
        pictures = sorted(readme.FOLDER.glob(f"{stem}*.png"))
        links = [site.link(page, picture.relative_to(ROOT).as_posix()) for picture in pictures]
        source = site.link(page, script)
        name = stem.replace("_", " ")
        lines = [f"# {name}", "", title, "", rest, ""]
        lines += [f"![Results of {name}]({link})\n" for link in links]
        lines += ["## Figures", ""]
        if columns_of(record["figures"]):
            lines += readme.table_of_recipe(record)
        else:
            lines += [readme.heading_of_table(record), "", "| figure | value |", "| --- | --- |"]
            lines += [f"| {key} | {shown(value)} |" for key, value in record["figures"].items()]
        versions = ", ".join(f"{key} {value}" for key, value in record["versions"].items())
        lines += ["", f"Computed with {versions} on: {record['machine']}.", ""]
        lines += [f"Source: [{script}]({source}).", ""]
        site.write(page, "\n".join(lines))
        navigation.append({name: page})
        if links:
            index += ['<div markdown="1">', f"[![]({links[0]})<br>{name}]({stem}.md)", "</div>"]
        else:
            plain.append(f"- [{name}]({stem}.md): {title}")
    site.write("gallery/index.md", "\n".join([*index, "</div>", *plain, ""]))
    return navigation


# The whole site.


def files_of(patterns: tuple[str, ...]) -> list[str]:
    """Returns the files of a tab, each at the first pattern that it matches."""
    found = [
        sorted(ROOT.glob(pattern)) if "*" in pattern else [ROOT / pattern] for pattern in patterns
    ]
    files = (path.relative_to(ROOT).as_posix() for paths in found for path in paths)
    return list(dict.fromkeys(files))


def build(folder: Path) -> tuple[Path, int]:
    """Writes pages and settings to a folder; returns the settings and the number of pages."""
    site = Site(ROOT, folder / "pages")
    tabs = {title: files_of(patterns) for title, patterns in TABS.items()}
    site.page_of = {file: page_name(file) for files in tabs.values() for file in files}
    navigation: list[Any] = []
    for title, files in tabs.items():
        pages: list[Any] = []
        for file in files:
            add = add_notebook if file.endswith(".ipynb") else add_markdown
            pages.append(add(site, file))
        if title == "Reference":
            pages = write_reference(site)
        elif title == "Gallery":
            pages = write_gallery(site)
        navigation.append({title: pages})
    shutil.copy(ROOT / "docs" / "site.css", site.pages)
    settings = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8"))
    settings |= {"docs_dir": "pages", "site_dir": "site", "nav": navigation}
    handler = settings["plugins"][1]["mkdocstrings"]["handlers"]["python"]
    handler["paths"] = [str(ROOT)]
    handler["options"]["extensions"] = [f"{ROOT}/docs/docstrings.py:KerasSections"]
    path = folder / "mkdocs.yml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path, len(site.written)


def main() -> None:
    """Builds the site, checks its links, and shows it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", action="store_true", help="show the site")
    serve = parser.parse_args().serve
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    settings, pages = build(folder)
    command = ["zensical", "build", "--clean", "--strict", "-f", settings]
    built = subprocess.run(command, capture_output=True, check=False, text=True)
    if built.returncode:
        sys.exit(re.sub(r"\x1b\[[0-9;]*m", "", built.stdout + built.stderr))
    broken = check_links.broken_links(folder / "site")
    for each in broken:
        print(each, file=sys.stderr)
    print(f"{pages} pages in {folder / 'site'}, {len(broken)} broken links")
    if broken:
        sys.exit(1)
    if serve:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder / "site")
        print("http://localhost:8000 (stop with Ctrl-C)")
        http.server.ThreadingHTTPServer(("localhost", 8000), handler).serve_forever()


if __name__ == "__main__":
    main()
