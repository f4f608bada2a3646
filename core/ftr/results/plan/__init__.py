"""`ftr plan`: what a run or a sweep is about to cost, and what its data is like, before it begins.

Nothing is written but encoded rows, which the run finds in its cache.
"""
