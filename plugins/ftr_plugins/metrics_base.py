"""The base of the built-in metrics: `evaluate` modules that read nothing from a network."""

from typing import Any

import evaluate  # the base class; this module is imported when a metric is first used


class LocalMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """An `evaluate.Metric` that keeps what it is given in memory, unless several processes share
    one.
    """

    def __init__(
        self, config_name: str | None = None, *, num_process: int = 1, **kwargs: Any
    ) -> None:
        kwargs.setdefault("keep_in_memory", num_process == 1)
        super().__init__(config_name, num_process=num_process, **kwargs)
