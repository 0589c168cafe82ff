"""Speed and memory of keras_vq beside other code for the same: `python -m benchmarks --help`."""
