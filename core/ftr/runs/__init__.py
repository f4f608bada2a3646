"""One run: one training with one fixed configuration, in one run directory."""
