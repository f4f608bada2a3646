"""One training on one process group: trainer, sampling, evaluation, checkpoints.

Knows nothing of `jobs`.
"""
