"""Example scripts; run one with `python -m recipes.NAME`."""
