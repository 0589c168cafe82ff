"""Generator of docs/licenses.md from the metadata of installed packages.

Run `python docs/licenses.py`. With `--check`, the exit code is 1 if a direct dependency in
`pyproject.toml` is missing from the file.
"""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_TARGET = _ROOT / "docs" / "licenses.md"
_HEAD = """\
# Licenses of dependencies

Written by `python docs/licenses.py` from the metadata of the installed packages: the license
expression, else the license field, else the classifiers of each package. Direct dependencies only;
each one brings its own. keras_vq itself is under Apache-2.0.

| package | needed by | license |
| --- | --- | --- |
"""


def requirements() -> dict[str, list[str]]:
    """Returns the direct dependencies, each with its extras ("keras-vq" for none)."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = {}
    groups = {"keras-vq": project["dependencies"], **project["optional-dependencies"]}
    for group, entries in groups.items():
        for entry in entries:
            name = re.split(r"[^A-Za-z0-9._-]", entry)[0]
            if name != "keras-vq":
                found.setdefault(name, []).append(group)
    return found


def license_of(package: str) -> str:
    """Returns the declared license of an installed package."""
    try:
        fields = metadata(package)
    except PackageNotFoundError:
        return "not installed"
    declared = fields.get("License-Expression") or fields.get("License") or ""
    classified = [
        entry.rpartition(" :: ")[2]
        for entry in fields.get_all("Classifier", ())
        if entry.startswith("License ::")
    ]
    # Some packages store the full license text in this field.
    first = declared.strip().splitlines()[0].strip() if declared.strip() else ""
    if first and len(declared) <= 100:
        return first
    return ", ".join(classified) or first or "not declared"


def main() -> int:
    """Writes the file, or checks it with `--check`."""
    found = requirements()
    if "--check" in sys.argv[1:]:
        text = _TARGET.read_text(encoding="utf-8")
        missing = sorted(name for name in found if f"| {name} |" not in text)
        print(f"missing from {_TARGET.name}: {', '.join(missing)}" if missing else "complete")
        return 1 if missing else 0
    rows = [
        f"| {name} | {', '.join(dict.fromkeys(groups))} | {license_of(name)} |"
        for name, groups in sorted(found.items())
    ]
    _TARGET.write_text(_HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
