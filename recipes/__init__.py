"""Scripts that show what the models do; run one by `python -m recipes.NAME`."""
