"""`python -m keras_vq_cli` is `keras-vq`."""

import sys

from keras_vq_cli.main import main

sys.exit(main())
