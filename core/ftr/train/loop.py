"""The function every process of a training runs, under Ray Train: from a spec of plain values to an outcome of them."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

from ftr import atomic
from ftr.train.quiet import quiet_libraries
from ftr.train.session import Best, Session, SessionSpec

Outcome = dict[str, Any]


def train_loop(spec: dict[str, Any]) -> Outcome:
    """Train as `spec` (the fields of `SessionSpec`) says and return the outcome; the same in every process.

    Leaves `model/`, `predictions/` and `metrics.jsonl` in the run directory. The outcome has the scores of the
    untrained and of the kept model, timings in seconds, throughput in examples a second, and facts of the machine.
    """
    quiet_libraries()
    began = time.monotonic()
    session = Session(SessionSpec(**spec))
    session.timings["build"] = time.monotonic() - began
    untrained = _untrained(session)
    meter = session.train()
    best = session.settle()
    scores = _predictions(session, best)
    return {
        "heldout": session.heldout,
        "primary": session.scorer.primary,
        "mode": session.scorer.mode,
        "untrained": untrained,
        "scores": scores,
        "best": {"epoch": best.epoch, "step": best.step, "value": best.value},
        "state": best.state,
        "steps": meter.step,
        "examples_per_second": meter.rate,
        "timings": {**session.timings, "train": meter.seconds, "total": time.monotonic() - began},
        "peak_memory_bytes": peak_memory(),
        **session.facts(),
    }


def _untrained(session: Session) -> dict[str, Any] | None:
    if session.heldout is None or not session.config.train.evaluate_untrained:
        return None
    _, scores, _ = session.predict(session.heldout, {})
    session.record({"kind": "untrained", "split": session.heldout, "step": 0, "epoch": 0.0, **scores})
    return scores


def _predictions(session: Session, best: Best) -> dict[str, Any]:
    """Score the kept model and write its predictions: validation first, which sets the state that test is scored with."""
    scores: dict[str, Any] = {}
    for split in ("validation", "test"):
        if split in session.splits:
            predictions, scores[split], best.state = session.predict(split, None if split == "validation" else best.state)
            session.record({"kind": "final", "split": split, "step": best.step, "epoch": best.epoch, **scores[split]})
            if session.rank == 0:
                atomic.write_lines(session.folder / "predictions" / f"{split}.jsonl", predictions)
    session.keep_state(best.state)
    return scores


def peak_memory() -> int:
    """Return the most memory this process held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
