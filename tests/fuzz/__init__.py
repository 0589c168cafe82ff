"""Fuzzing of everything that the package reads from strangers: `python -m tests.fuzz --help`.

`targets/` has one file per kind of input, listed in `table.py`; `mutations.py` has the mutations
that they share, `runner.py` the process in which cases run under limits.
"""
