"""`ftr serve`: predictions over HTTP, from one process or from replicas of Ray Serve."""
