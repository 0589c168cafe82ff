"""Commands of `keras-vq`: one file each, which is imported only when the command runs."""
