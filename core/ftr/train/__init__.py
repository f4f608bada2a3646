"""One training on one process group: trainer, sampling, evaluation, checkpoints."""
