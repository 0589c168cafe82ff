"""Entry point of `python -m keras_vq_cli`, which is equivalent to `keras-vq`."""

import os
import sys

# `python -m` prepends the working directory to sys.path, so its files could shadow modules.
if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
    del sys.path[0]

from keras_vq_cli.main import main

sys.exit(main())
