"""Base class of fuzz targets."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np


class SilentlyWrong(Exception):  # noqa: N818 - a finding, not an error of the package
    """Exception of a target for an accepted input with a wrong result."""


class Target:
    """One kind of untrusted input, with valid originals and mutated cases.

    Args:
        folder: Empty folder for files. Removed at the end.
    """

    # Default number of cases.
    cases: ClassVar[int] = 1_000
    # Documented exception types. A subclass that is not listed is a finding.
    documented: ClassVar[tuple[type[Exception], ...]] = (ValueError,)
    # Limits per case: CPU time, and growth of the resident memory.
    seconds: ClassVar[float] = 2.0
    megabytes: ClassVar[float] = 500.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, rng: np.random.Generator) -> Any:
        """Returns a case that depends only on `rng`. Its time is not measured."""
        raise NotImplementedError

    def run(self, case: Any) -> str:
        """Reads a case as a user would.

        Returns:
            Outcome for the summary, such as "equal" or "packed, read".

        Raises:
            SilentlyWrong: If the result is wrong and no error was raised.
            Exception: Any exception of the package.
        """
        raise NotImplementedError

    def kind(self, case: Any) -> str:
        """Returns the category of a case, such as "repaired, packed"."""
        del case
        return "mutated"

    def is_documented(self, error: Exception) -> bool:
        """Returns true for a documented error of the reader."""
        return type(error) in self.documented
