"""The function that every process of a training runs.

A driver with workers only hands it on: it imports this module, and what trains only where it runs.
"""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.data.rows import HELD_OUT
from ftr.registry.registry import get_registry, plugin_errors
from ftr.terminal import quiet_libraries
from ftr.train.session import SessionSpec

if TYPE_CHECKING:
    from ftr.train.best import Best
    from ftr.train.session import Report, Session


Outcome = dict[str, Any]


def train_loop(spec: dict[str, Any], report: Report | None = None) -> Outcome:
    """Train as `spec` (the fields of `SessionSpec`) says and return the outcome; the same in every
    process.

    Goes on from the last checkpoint in the run directory, if there is one. Leaves `model/`,
    `metrics.jsonl` and, with `spec["final"]`, `predictions/`. The outcome has the scores of the
    untrained and of the kept model, timings in seconds, throughput in examples a second, and facts
    of the machine.

    `report` is called in the first process after every validation with `epoch`, `step`, `value`
    (the primary score), `scores`, `seconds` of training so far, and `best`: whether `model/` now
    holds these weights. Whatever it raises ends the training there, with the run directory in
    order. What the code of a plugin raises comes out as a `PluginError`.
    """
    from ftr.train.session import Session

    quiet_libraries()
    settings = SessionSpec(**spec)
    with plugin_errors(get_registry()):
        session = Session(settings, report=report)
        if settings.final:
            session.score_untrained()
        session.train()
        best = session.settle(restore=settings.final)
        return _outcome(session, best, _predictions(session, best) if settings.final else {})


def reporting_loop(spec: dict[str, Any]) -> Outcome:
    """Train as `train_loop` does, as one of several workers, and report every evaluation through
    Ray Train.
    """
    from ray import train

    def report(evaluation: dict[str, Any]) -> None:
        scores = {
            key: value
            for key, value in evaluation["scores"].items()
            if isinstance(value, int | float)
        }
        train.report(
            {
                **{key: evaluation[key] for key in ("epoch", "step", "value", "seconds")},
                "scores": scores,
            }
        )

    # Ray Train waits for the report of every worker, and takes the first's.
    return train_loop({**spec, "report_everywhere": True}, report=report)


def score_loop(spec: dict[str, Any]) -> Outcome:
    """Score the model that a training with `final` false kept, as `train_loop` would have at its
    end; leaves `predictions/`.

    The outcome is that of `train_loop`, with what is known of a training that may have been stopped
    before its end.
    """
    from ftr.train.session import Session

    quiet_libraries()
    with plugin_errors(get_registry()):
        session = Session(SessionSpec(**spec), trains=False)
        session.score_untrained()
        session.take_kept()
        return _outcome(session, session.kept.best, _predictions(session, session.kept.best))


def _outcome(session: Session, best: Best, scores: dict[str, Any]) -> Outcome:
    return {
        "heldout": session.heldout,
        "primary": session.scorer.primary,
        "mode": session.scorer.mode,
        "untrained": session.untrained,
        "scores": scores,
        "best": best.place,
        "last": session.kept.last.place,
        "state": best.state,
        "weights": best.files,
        "steps": session.meter.step,
        "examples_per_second": session.meter.rate,
        "timings": {
            **session.timings,
            "save": session.kept.seconds,
            "train": session.meter.seconds,
            "total": session.seconds,
        },
        "peak_memory_bytes": peak_memory(),
        **session.facts(),
    }


def _predictions(session: Session, best: Best) -> dict[str, Any]:
    """Score the kept model and write its predictions: validation first, which sets the state that
    test is scored with.
    """
    scores: dict[str, Any] = {}
    for split in HELD_OUT:
        if split in session.splits:
            predictions, scores[split], best.state = session.predict(
                split, None if split == "validation" else best.state
            )
            session.record(
                {
                    "kind": "final",
                    "split": split,
                    "step": best.step,
                    "epoch": best.epoch,
                    **scores[split],
                }
            )
            if session.rank == 0:
                atomic.write_lines(session.folder / "predictions" / f"{split}.jsonl", predictions)
    session.kept.put_state(best.state)
    return scores


def peak_memory() -> int:
    """Return the most memory this process held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
