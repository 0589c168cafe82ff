"""The command line, `keras-vq`.

A package of its own, because importing keras_vq imports Keras: the command reads its arguments and
chooses the backend first. Modules that import Keras or keras_vq are `pipeline`, `checkpoints`,
`figures` and `progress`; commands import them when they run.
"""
