"""`python -m keras_vq_cli` is `keras-vq`."""

import os
import sys

# `python -m` puts the working directory first, whose files are no modules of ours.
if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
    del sys.path[0]

from keras_vq_cli.main import main

sys.exit(main())
