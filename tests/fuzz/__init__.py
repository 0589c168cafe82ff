"""Fuzzing of all readers of untrusted input: `python -m tests.fuzz --help`.

`targets/` has one file per kind of input, listed in `table.py`; `mutations.py` has the shared
mutations, and `runner.py` the process in which cases run with limits.
"""
