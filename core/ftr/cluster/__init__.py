"""Ray clusters: connecting, capacity, shipping plugins and files, submitting, storage."""
