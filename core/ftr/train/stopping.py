"""Early stopping (`train.early_stopping`): how many evaluations have passed without a better primary score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Stopping:
    """Counts evaluations since the best one. `patience` None never stops; `stopped` is the place where it did."""

    patience: int | None
    since: int = 0
    stopped: dict[str, Any] | None = None

    def count(self, better: bool, place: dict[str, Any], *, last: bool = False) -> bool:
        """Count an evaluation at `place` (`epoch` and `step`); returns whether the training ends here, before its `last` step."""
        self.since = 0 if better else self.since + 1
        if self.patience is not None and self.since >= self.patience and not last:
            self.stopped = {"epoch": place["epoch"], "step": place["step"]}
        return self.stopped is not None

    def line(self, primary: str, best: dict[str, Any]) -> str:
        """Return what to say where it stopped; `best` is the place of the best evaluation."""
        evaluations = "1 evaluation" if self.since == 1 else f"{self.since} evaluations"
        return (
            f"stopped early: {evaluations} without a better {primary} than {best['value']:.4g} of epoch {best['epoch']:.2f}, "
            "whose weights are kept"
        )

    def state(self) -> dict[str, Any]:
        """Return the count, for a checkpoint."""
        return {"since": self.since, "stopped": self.stopped}

    def go_on(self, state: dict[str, Any]) -> None:
        """Take over the count of a checkpoint."""
        self.since, self.stopped = state["since"], state["stopped"]
