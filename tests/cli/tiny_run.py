"""Options of runs that take one or two seconds on every backend."""

TINY = ["--limit", "96", "--batch-size", "32", "--filters", "8", "--latent-dim", "4"]
TINY_CODES = [*TINY, "--codebook-size", "8"]
