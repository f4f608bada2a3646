"""Predictions for files of any size: read in blocks, answered, written in blocks, resumed."""
