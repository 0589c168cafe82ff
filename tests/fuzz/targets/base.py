"""Contract of a fuzz target."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np


class SilentlyWrong(Exception):  # noqa: N818 - a finding, not an error of the package
    """Raised by a target when an input was accepted and the result is wrong."""


class Target:
    """One kind of input from strangers, with valid originals and mutated cases.

    Args:
        folder: Empty folder for files. Removed at the end.
    """

    # Number of cases that are run by default.
    cases: ClassVar[int] = 1_000
    # Types of the documented errors. A subclass that is not listed is a finding.
    documented: ClassVar[tuple[type[Exception], ...]] = (ValueError,)
    # Limits per case: processor time, and growth of the resident memory.
    seconds: ClassVar[float] = 2.0
    megabytes: ClassVar[float] = 500.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, rng: np.random.Generator) -> Any:
        """Returns a case, the same for the same state of `rng`. Its time is not measured."""
        raise NotImplementedError

    def run(self, case: Any) -> str:
        """Reads a case as a user would.

        Returns:
            A word or two for the table of outcomes, such as "equal" or "packed, read".

        Raises:
            SilentlyWrong: If the result is wrong and no error was raised.
            Exception: Whatever the package raised.
        """
        raise NotImplementedError

    def kind(self, case: Any) -> str:
        """Returns the class under which a case is counted, such as "repaired, packed"."""
        del case
        return "mutated"

    def is_documented(self, error: Exception) -> bool:
        """Returns true for an error that the documentation of the reader announces."""
        return type(error) in self.documented
