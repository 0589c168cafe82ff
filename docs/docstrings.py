"""Extension of griffe for the docstrings of Keras, which name some sections differently."""

import re
from typing import Any

import griffe

# The section names that griffe reads: an example as code, call arguments as a list.
_SECTIONS = {"Example:": "Examples: Example", "Call arguments:": "Other Parameters: Call arguments"}


class KerasSections(griffe.Extension):
    """Renames the sections of docstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Renames the sections of the docstring of one object."""
        if obj.docstring:
            for theirs, ours in _SECTIONS.items():
                heading = rf"^( *){re.escape(theirs)}$"
                obj.docstring.value = re.sub(heading, rf"\1{ours}", obj.docstring.value, flags=re.M)
