"""Studies: many runs from one source of configurations."""
