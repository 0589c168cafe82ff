"""Check of the contents of a wheel and a source distribution; prints their sizes.

Run: python tests/check_package.py WHEEL SOURCE [TAG]
"""

import re
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

# Largest sizes in megabytes. Presets are most of a wheel.
LIMITS = {".whl": 3.0, ".gz": 10.0}
PRESETS = ("vae_mnist", "vqvae_cifar10", "vqvae_mnist")


def problems(wheel: list[str], source: list[str]) -> list[str]:
    """Returns one line for each missing or surplus file, given the names of files."""
    found = []
    tops = {name.partition("/")[0] for name in wheel if ".dist-info/" not in name}
    if tops != {"keras_vq", "keras_vq_cli"}:
        found.append(f"The wheel must contain keras_vq and keras_vq_cli only. Received: {tops}")
    found += [f"The wheel must not contain {name}" for name in wheel if "/test" in f"/{name}"]
    folders = [f"keras_vq/saved_models/{preset}" for preset in PRESETS]
    needed = ["keras_vq/py.typed", *(f"{folder}/model.keras" for folder in folders)]
    found += [f"The wheel must contain {name}" for name in needed if name not in wheel]
    inside = {name.partition("/")[2] for name in source}
    needed = ["pyproject.toml", "noxfile.py", "tests/conftest.py", "CHANGELOG.md", "LICENSE"]
    found += [f"The source must contain {name}" for name in needed if name not in inside]
    return found


def main() -> None:
    """Prints contents and sizes; exits with 1 if something is wrong."""
    wheel, source, *tag = sys.argv[1:]
    with zipfile.ZipFile(wheel) as archive:
        infos = archive.infolist()
    with tarfile.open(source) as archive:
        members = [member.name for member in archive.getmembers() if member.isfile()]
    sizes: Counter[str] = Counter()
    for info in infos:
        sizes[str(Path(info.filename).parent)] += info.compress_size
    for name, size in sizes.most_common(8):
        print(f"{size / 1e3:8.1f} kB  {name}")
    wrong = problems([info.filename for info in infos], members)
    for path in (Path(wheel), Path(source)):
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {size:.2f} MB")
        if size > LIMITS[path.suffix]:
            wrong.append(f"{path.name} must have at most {LIMITS[path.suffix]} MB")
    version = re.match(r"keras_vq-([^-]+)-", Path(wheel).name)
    if tag and (version is None or tag[0] != f"v{version[1]}"):
        wrong.append(f"The tag must be that of the version. Received: {tag[0]}")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
