"""One run's configuration: its fields, how people write it, and where each value came from."""
