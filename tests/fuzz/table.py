"""Names of the fuzz targets, whose modules are imported only where their cases run."""

from importlib import import_module
from pathlib import Path

from tests.fuzz.targets.base import Target

# Name -> "module:class" below `tests.fuzz.targets`.
TARGETS = {
    "kvq": "kvq:KvqTarget",
    "requests": "requests:RequestTarget",
    "images": "images:ImageTarget",
    "keras": "model_files:ModelFileTarget",
    "pretrained": "pretrained:PretrainedTarget",
}


def target_class(name: str) -> type[Target]:
    """Returns the class of a target."""
    module, _, cls = TARGETS[name].partition(":")
    return getattr(import_module(f"tests.fuzz.targets.{module}"), cls)


def new_target(name: str, folder: Path) -> Target:
    """Returns a target with its valid originals."""
    return target_class(name)(folder)
