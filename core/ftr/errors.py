"""Every error ftr raises on purpose, and the exit code it ends a command with."""


class FtrError(Exception):
    """The machine or a component failed: exit code 1. The message says what and where."""

    exit_code = 1


class RequestError(FtrError):
    """The request is wrong: exit code 2. The message names the key, file, row or plugin, and the mend."""

    exit_code = 2


class ConfigError(RequestError):
    """A configuration key or value is unknown, missing or out of range."""


class ScoreError(ConfigError):
    """The score that is to rank trials is none of those that the metrics give."""


class UnknownComponentError(RequestError):
    """No component of that kind and name is registered, or the bare name is ambiguous."""


class DataError(RequestError):
    """A data file is missing, unreadable, or does not hold what the task needs."""


class ModelError(RequestError):
    """A checkpoint is missing, has no weights, or does not fit the head."""


class PluginError(FtrError):
    """A plugin failed to load, or its code failed during a run. Names plugin and version."""


class RunError(FtrError):
    """A training or evaluation failed on this machine (disk, memory, a lost worker)."""
