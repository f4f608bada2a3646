"""Run directories: written by `jobs` and `train`, read by everyone else."""
