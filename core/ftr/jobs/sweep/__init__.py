"""Sweeps: many trials of one task on Ray Tune, whose journal survives whatever dies."""
