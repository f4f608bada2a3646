"""The plugin registry: specs, discovery and lookup of components.

Standard library and pluggy only.
"""
