"""Checks of an experiment tracker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ftr.registry.protocols import Point, TrackedRun
from ftr.testing.contract import Conformance, must_work, require
from ftr.testing.subjects import Component


class TrackerChecks(Conformance):
    """What must hold of a tracker: it takes all that a run gives, and finds a run again."""

    def test_a_run_with_a_child_is_tracked_interrupted_and_resumed(
        self, ftr_components: list[Component], tmp_path: Path
    ) -> None:
        for component in ftr_components:
            target: Any = component.registry.target("tracker", component.entry.qualified)
            run = TrackedRun(
                name="20260301-101500-qa-1f3a",
                kind="sweep",
                folder=tmp_path,
                created=1.0,
                config={"learning_rate": 1e-3, "metrics": ["f1"], "data.cache": None},
                tags=("kept",),
            )
            report = tmp_path / "report.html"
            report.write_text("<p>report</p>", encoding="utf-8")
            with must_work(
                f"{component} takes points, final scores, a file and an end, of a run and a child",
                "see `Tracker` in the reference: calls come in this order, with these values",
            ):
                first = target(run)
                child = target(
                    replace(
                        run,
                        name=f"{run.name}-trial-0000",
                        kind="trial",
                        parent=run.name,
                        parent_id=first.id,
                    )
                )
                child.log([Point(1, 2.0, {"train/loss": 0.5}), Point(2, 3.0, {"train/loss": 0.4})])
                child.summarize({"final/test/f1": 1.0}, ["winner"])
                child.finish("done")
                first.attach(report)
                first.finish("interrupted")
                again = target(replace(run, known=first.id))
                again.log([Point(3, 4.0, {"trial/best": 0.3})])
                again.finish("done")
            require(
                again.id == first.id and first.id != child.id,
                f"{component} opens a resumed run again, and each child as a run of its own",
                f"the ids are {first.id!r}, again {again.id!r}, and {child.id!r} of the child",
                "open the run with the id `known` where there is one",
            )
            require(
                isinstance(first.id, str) and first.id and isinstance(first.resend, bool),
                f"{component} has an `id`, a string, and says with `resend` what it does with "
                "points that come twice",
                f"`id` is {first.id!r}, `resend` {first.resend!r}",
                "set both in `__init__`, or `resend = False` in the class",
            )
