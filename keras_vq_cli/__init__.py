"""Command line interface `keras-vq`.

It is a separate package because importing keras_vq imports Keras: the command parses its arguments
and selects the backend first. Only `pipeline`, `checkpoints`, `figures` and `progress` import Keras
or keras_vq at module level; commands import them when they run.
"""
