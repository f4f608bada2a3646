"""Search spaces, sweeps without trainings, and sweeps of tiny models that take seconds."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.config.schema import SweepConfig
from ftr.config.space import Dimension, read_dimension
from ftr.errors import ConfigError
from ftr.study.trials import SweepState
from trainings import REVIEWS, Settings

if TYPE_CHECKING:
    import pytest

    from ftr.study.search import Proposer
    from ftr.study.sweep import SweepResult

TINY: Settings = {
    key: value
    for key, value in REVIEWS.items()
    if key not in ("learning_rate", "epochs", "train.logging_steps", "baselines")
}
"""Trainings of a fraction of a second, without what is searched."""
REPEATED: Settings = {
    **TINY,
    "searcher": "random",
    "scheduler": "fifo",
    "trials": 5,
    "repeats": 2,
    "learning_rate": "loguniform(3e-4,1e-2)",
    "epochs": "choice(6,8)",
}
"""Five configurations, each trained twice, long enough for a process to be killed in their
middle.
"""


def space_of(**expressions: str) -> dict[str, Dimension]:
    """Return the search space of expressions by key."""
    found = {key: read_dimension(key, text, "test") for key, text in expressions.items()}
    return {key: dimension for key, dimension in found.items() if dimension is not None}


def hidden(patch: pytest.MonkeyPatch, package: str) -> None:
    """Let a package seem not to be installed."""
    real = importlib.util.find_spec
    patch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == package else real(name, *rest),
    )


class Rehearsal:
    """A source with a journal in memory: trials are handed out, and what becomes of them is said by
    the test.
    """

    def __init__(
        self,
        proposer: Proposer,
        *,
        refuses: Mapping[str, object],
        space: Mapping[str, Dimension] | None = None,
        **keys: object,
    ) -> None:
        """`refuses` are values by key that no run can have; `keys` are those of a sweep."""
        from ftr.study.search import Budget
        from ftr.study.tune import TrialSource

        self.config = SweepConfig.model_validate(keys)
        self.refuses, self.events, self.state = refuses, list[dict[str, Any]](), SweepState("max")
        budget = Budget(self.config, self.config.trials, "max")
        self.source = TrialSource(
            proposer,
            budget,
            self.write,
            self.check,
            seed=42,
            repeats=self.config.repeats,
            space=space,
        )

    def write(self, event: str, **fields: Any) -> None:
        """Journal an event."""
        self.events.append({"event": event, "time": float(len(self.events)), **fields})
        self.state.apply(self.events[-1])

    def check(self, values: Mapping[str, object], seed: int) -> dict[str, Any]:
        """Return the spec of a trial."""
        for key, value in self.refuses.items():
            if values[key] == value:
                raise ConfigError(f"`{key}` cannot be {value}")
        # As a run does, this takes 8.0 for 8 and drops what makes no difference.
        config = {key: value for key, value in values.items() if key != "idle"}
        return {"values": dict(values), "seed": seed, "config": {"seed": seed, **config}}

    def next(self) -> dict[str, Any] | None:
        """Return the spec of the next trial; None: there is none."""
        spec = self.source.suggest("id")
        return spec if isinstance(spec, dict) else None

    def result(self, number: int, value: float) -> None:
        """Let a trial be evaluated once."""
        self.write("result", trial=number, epoch=1.0, step=1, value=value, scores={}, seconds=1.0)

    def end(self, number: int, status: str = "done") -> None:
        """Let a trial end."""
        self.write("end", trial=number, status=status, cause=None, log=None)
        self.source.end(self.state.trials[number])

    def repeat(self, event: Mapping[str, Any]) -> None:
        """Let happen what an event of another journal tells of a trial."""
        if event["event"] == "result":
            self.result(event["trial"], event["value"])
        elif event["event"] == "end":
            self.end(event["trial"], event["status"])

    def recall(self, events: list[dict[str, Any]]) -> list[str]:
        """Begin with what was written down."""
        for event in events:
            self.write(**{key: value for key, value in event.items() if key != "time"})
        return self.source.recall(list(self.events), self.state)

    def peak(self, number: int) -> float:
        """Return a score for a trial, 0 at its highest."""
        return -abs(math.log10(self.state.trials[number].values["learning_rate"]) + 3)

    def table(self) -> list[tuple[Any, ...]]:
        """Return number, values and best of every trial."""
        return [(trial.number, trial.values, trial.best) for trial in self.state.trials.values()]


def search(settings: Settings, **keys: object) -> SweepResult:
    """Sweep without a word and return the result; paths may be given as they are."""
    from ftr.study.sweep import sweep

    asked = {**settings, **keys}
    return sweep(
        {key: str(value) if isinstance(value, Path) else value for key, value in asked.items()},
        say=lambda line: None,
    )


def resume_sweep(
    sweep: Path, settings: Sequence[str] = (), say: Callable[[str], None] | None = None
) -> SweepResult:
    """Resume a sweep."""
    from ftr.study.resume import resume
    from ftr.study.sweep import SweepResult

    result = resume(sweep, settings, say=say)
    assert isinstance(result, SweepResult)
    return result


def events_of(sweep: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a sweep's journal, which may be growing."""
    text = (sweep / "journal.jsonl").read_text(encoding="utf-8", errors="replace")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("}\n")]


def ranking(sweep: Path) -> list[tuple[Any, ...]]:
    """Return what of a leaderboard must not depend on interruptions: rank, trials, values, and the
    metric to the last bit.
    """
    entries = json.loads((sweep / "leaderboard.json").read_text(encoding="utf-8"))["entries"]
    same = (
        "rank",
        "trial",
        "trials",
        "values",
        "value",
        "std",
        "best_epoch",
        "trained_epochs",
        "scores",
        "status",
    )
    return [tuple(entry[key] for key in same) for entry in entries]


def ended(events: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of the trials that ended, in that order."""
    return [event["trial"] for event in events if event["event"] == "end"]


def started(events: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of the trials that processes took up, in that order."""
    return [event["trial"] for event in events if event["event"] == "start"]
