"""The fixtures of ftr's conformance kit."""

pytest_plugins = ["ftr.testing"]
