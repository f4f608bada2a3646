"""The members of a run of several (seeds, folds, bootstrap samples, rounds of boosting), each an
ordinary run below its parent, and what is made of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ftr import atomic
from ftr.config.schema import CvConfig, RunConfig
from ftr.errors import ConfigError
from ftr.registry.protocols import Head, State, provides
from ftr.registry.registry import Registry
from ftr.runs.directory import RunDirectory
from ftr.runs.heldout import read_predictions
from ftr.runs.prepare import Prepared
from ftr.runs.report import decimals
from ftr.runs.report import number as as_number
from ftr.runs.run import MEMBERS, Say
from ftr.study.ensemble import MODEL, PREDICTIONS, Finished, Method, build_ensemble, held_out
from ftr.train.calibration import calibration_line
from ftr.train.checkpoint import link_files
from ftr.train.hardware import describe_hardware
from ftr.train.intervals import Intervals, Units, interval_facts, mean_intervals
from ftr.train.scoring import Scorer

Kind = Literal["seeds", "folds", "bagging", "soup", "boosting"]
JOINED: dict[Kind, Method] = {"soup": "weights", "boosting": "votes"}
"""What is combined where the kind decides it; else outputs are, with `ensemble`, or nothing is."""

DEFAULT_MEMBERS, DEFAULT_FOLDS = 3, 5


@dataclass(frozen=True, slots=True)
class Member:
    """One training of several: its number, its own configuration, and what varies (`seed`,
    `fold`, `bootstrap`).
    """

    number: int
    config: RunConfig
    varied: dict[str, int]

    @property
    def path(self) -> str:
        """Its run directory, below that of the run."""
        return f"{MEMBERS}/{self.number}"

    def directory(self, run: RunDirectory) -> RunDirectory:
        """Return its run directory, which may not exist yet."""
        return RunDirectory(run.path / self.path)

    def __str__(self) -> str:
        """Return its name in messages: `member 1 (seed 1)`."""
        varied = ", ".join(f"{key} {value}" for key, value in self.varied.items())
        return f"member {self.number} ({varied})"


@dataclass(frozen=True, slots=True)
class Plan:
    """The members in order, what distinguishes them (`kind`), and what is made of them (`joined`):
    their `outputs` averaged, the mean of their `weights`, their `votes`, or nothing (None).
    """

    kind: Kind
    joined: Method | None
    members: Sequence[Member]

    @property
    def asked(self) -> str:
        """The setting that asked for it, for messages."""
        if self.joined is not None and self.kind != "boosting":
            return f"ensemble={self.kind}"
        key = "cv.folds" if self.kind == "folds" else self.kind
        return f"{key}={len(self.members)}"

    @property
    def same_rows(self) -> bool:
        """Whether all members validate on the same rows; folds do not."""
        return self.kind != "folds"


def plan_of(config: RunConfig) -> Plan:
    """Return the members of a configuration for which `config.several` holds.

    Member i trains with the seed `seed` + i, except on folds, which share the seed; bootstrap
    samples are drawn with the seed `data.seed` + i. The members of a soup share `init_seed`: the
    mean of weights that began differently is useless.
    """
    kind, count = _kind(config)
    members = []
    for number in range(count):
        varied: dict[str, int] = {"seed": config.seed + number}
        if kind == "folds":
            varied = {"fold": number}
        if kind == "bagging":
            varied["bootstrap"] = config.data.seed + number
        members.append(Member(number, _alone(config, number, varied, count), varied))
    otherwise: Method | None = None if config.ensemble is None else "outputs"
    return Plan(kind, JOINED.get(kind, otherwise), members)


def check_plan(plan: Plan, config: RunConfig, head: Head) -> None:
    """Raise `ConfigError` naming both keys where the head, or the splits there will be, do not
    allow what is asked.
    """
    if plan.joined == "outputs" and not provides(head, "combine"):
        raise ConfigError(
            f"`{plan.asked}` averages outputs, and the head `{config.head.name}` (`head`) has no "
            "`combine`: `ensemble=soup` averages weights, `seeds` trains several and joins none."
        )
    if plan.joined == "votes":
        classes = head.schema.classes
        if classes is None or classes.type != "label":
            raise ConfigError(
                f"`{plan.asked}` weights rows by whether their class is found, and the head "
                f"`{config.head.name}` (`head`) has no class for each row: leave `boosting` out, "
                "or try `ensemble=bagging`."
            )
        if not provides(head, "vote"):
            raise ConfigError(
                f"`{plan.asked}` lets members vote, and the head `{config.head.name}` (`head`) has "
                "no `vote`."
            )


def _kind(config: RunConfig) -> tuple[Kind, int]:
    if config.boosting is not None:
        return "boosting", config.boosting
    if config.ensemble == "folds" or (
        config.ensemble is None and config.cv.folds is not None and config.cv.fold is None
    ):
        return "folds", config.cv.folds or config.ensemble_size or DEFAULT_FOLDS
    if config.ensemble is None:
        return "seeds", config.seeds
    return config.ensemble, config.ensemble_size or (
        config.seeds if config.seeds > 1 else DEFAULT_MEMBERS
    )


def _alone(config: RunConfig, number: int, varied: dict[str, int], count: int) -> RunConfig:
    """Return the configuration with which `ftr run` would train one member alone."""
    values: dict[str, Any] = {
        "seeds": 1,
        "ensemble": None,
        "boosting": None,
        "ensemble_size": None,
        "seed": varied.get("seed", config.seed),
        # Once is enough for the same rows.
        "baselines": config.baselines and (number == 0 or "fold" in varied),
        # The parent is tracked and mirrored with its members.
        "tracker": (),
        "compute": config.compute.model_copy(update={"storage": None}),
    }
    if config.ensemble == "soup":
        values["init_seed"] = config.weights_seed
    if "fold" in varied:
        values["cv"] = CvConfig(folds=count, fold=varied["fold"])
    if "bootstrap" in varied:
        values["data"] = config.data.model_copy(update={"bootstrap": varied["bootstrap"]})
    return RunConfig.model_validate(config.model_copy(update=values).model_dump(mode="json"))


Record = Mapping[str, Any]
Scores = Mapping[str, Mapping[str, Any]]
Summary = dict[str, dict[str, dict[str, float | None]]]


def entry(member: Member, record: Record | None) -> dict[str, Any]:
    """Return what the record of the run says of a member; without `record`, of one that is not
    done.
    """
    keys = ("status", "scores", "best", "seconds", "boosted", "note")
    known = {} if record is None else {key: record[key] for key in keys if key in record}
    return {"path": member.path, **member.varied, "status": "waiting", **known}


def summary(scores: Sequence[Scores]) -> Summary:
    """Return by split and score the `mean` of the members, their standard deviation `sd`, and how
    many (`n`) have the score.

    `scores` has the scores of each member by split. The deviation is that of a sample (divided by
    n - 1), and None for one member; scores that are not single numbers are left out.
    """
    found: Summary = {}
    for split in dict.fromkeys(split for one in scores for split in one):
        values: dict[str, list[float]] = {}
        for one in scores:
            for name, value in one.get(split, {}).items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    values.setdefault(name, []).append(float(value))
        found[split] = {
            name: {
                "mean": statistics.fmean(each),
                "sd": statistics.stdev(each) if len(each) > 1 else None,
                "n": len(each),
            }
            for name, each in values.items()
        }
    return found


def means(scores: Sequence[Scores]) -> dict[str, Any]:
    """Return by split and score the mean of the members."""
    return {
        split: {name: one["mean"] for name, one in found.items()}
        for split, found in summary(scores).items()
    }


def scored(record: Record) -> str:
    """Return the scores of a member that is done, and its seconds: `validation accuracy 0.8712,
    test accuracy 0.8650, 34 s`.
    """
    primary = record["primary"]
    shown = [
        f"{split} {primary} {as_number(scores[primary], decimals(scores.values()))}"
        for split, scores in record["scores"].items()
        if primary in scores
    ]
    return ", ".join([*shown, f"{record['seconds']:.0f} s"])


OF_MACHINE = ("numerics", "parameters", "trainable_parameters", "workers")


class Combined:
    """What is made of the members of a run: `model/`, `predictions/` and scores.

    `done` has the records of the members by number, `rows` gives the data of a configuration.
    """

    def __init__(
        self,
        run: RunDirectory,
        plan: Plan,
        done: Mapping[int, dict[str, Any]],
        rows: Callable[[RunConfig], Prepared],
        scorer: Scorer,
        registry: Registry,
        say: Say,
    ) -> None:
        self.run, self.plan, self.rows, self.scorer, self.say = run, plan, rows, scorer, say
        self.members = [member for member in plan.members if member.number in done]
        self.records = [done[member.number] for member in self.members]
        self.runs = [finished_run(run, member, registry) for member in self.members]
        ranked = sorted(range(len(self.members)), key=self._place)
        self.ranked = [self.runs[place] for place in ranked]
        """The runs, the best on its validation rows first; in order, where there are none."""
        self.best = self.records[ranked[0]]
        self._means = means([record["scores"] for record in self.records])

    def _place(self, number: int) -> tuple[bool, float, int]:
        scores = self.records[number]["scores"].get("validation", {})
        value = scores.get(self.scorer.primary)
        if value is None or math.isnan(value):
            return (True, 0.0, number)
        return (False, -value if self.scorer.mode == "max" else value, number)

    def combine(self) -> dict[str, Any]:
        """Leave `model/` and `predictions/` in the run's directory, and return what its record says
        of them.

        Without an ensemble `model/` is that of the member best on validation; folds alone leave
        none. Raises what loading models raises.
        """
        combined: dict[str, Any] = {"scores": self._means, "state": {}}
        with atomic.workroom(self.run.path / "joined") as folder:
            if self.plan.joined is not None:
                self.say(f"joining {len(self.members)} members")
                combined = self._ensemble(self.plan.joined, folder)
            elif self.plan.same_rows:
                for name in (MODEL, PREDICTIONS):
                    if (source := self.ranked[0].directory.path / name).is_dir():
                        link_files(source, folder / name)
                combined["state"] = dict(self.best["state"])
                combined["calibration"] = self.best.get("calibration")
            if self.plan.joined is None:
                combined |= self._intervals()
            self.move_in(folder)
        if not self.plan.same_rows:
            self._write_out_of_fold()
        for split, found in (combined.get("calibration") or {}).items():
            self.say(calibration_line(split, found))
        if not combined.get("calibration"):
            combined.pop("calibration", None)
        return {**self._facts(), "best_member": self.ranked[0].number, **combined}

    def _ensemble(self, method: Method, folder: Path) -> dict[str, Any]:
        """Build the ensemble in `folder`, of rows that no member was trained on."""
        splits = held_out(self.rows(self.members[0].config))
        if not self.plan.same_rows:
            splits.pop("validation", None)
        votes = [record["boosted"]["alpha"] for record in self.records if method == "votes"]
        built = build_ensemble(
            folder,
            self.ranked if method == "weights" else self.runs,
            method,
            splits,
            self.scorer,
            votes=tuple(votes),
            state=None if self.plan.same_rows else self._state_out_of_fold(),
        )
        for number, cause in built.left_out.items():
            self.say(f"member {number} is left out of the soup: {cause}")
        about: dict[str, Any] = {
            "method": method,
            "members": [member.number for member in built.members],
            **self._compared(built.scores),
        }
        if method == "weights":
            about["left_out"] = {str(number): value for number, value in built.tried.items()}
        return {
            "scores": built.scores or self._means,
            **(interval_facts(built.intervals) if built.scores else self._intervals()),
            "state": built.state,
            "calibration": built.calibration,
            "ensemble": about,
        }

    def _intervals(self) -> dict[str, Any]:
        """Return what the record says of the intervals of the mean scores: over rows, while the
        members stay what they are.
        """
        found: dict[str, Intervals] = {}
        for split, means in self._means.items():
            scored, units = [], []
            for member, run, record in zip(self.members, self.runs, self.records, strict=True):
                rows = self.rows(member.config).splits[split].open()[0].to_list()
                predictions = read_predictions(run.directory, split, rows)
                given = self.scorer.contributions(run.head, rows, predictions, run.card.labels)
                scored.append((record["scores"][split], given))
                units.append(Units.of(rows, run.head.schema))
            same = self.plan.same_rows or split == "test"
            found[split] = mean_intervals(means, scored, units, same_rows=same)
        return interval_facts(found)

    def _state_out_of_fold(self) -> State | None:
        """Return the state tuned on all training rows, each as the member that did not train on it
        answers; None: nothing is tuned.
        """
        if not any(record["state"] for record in self.records):
            return {}
        rows, records = [], []
        for member, run in zip(self.members, self.runs, strict=True):
            split = held_out(self.rows(member.config))["validation"]
            rows += split.rows.to_list()
            engine = run.engine()
            records += engine.records(split)
        return self.runs[0].head.calibrate(rows, records, engine.labels)

    def _compared(self, scores: dict[str, Any]) -> dict[str, Any]:
        """Return how the ensemble compares to its best member, by the primary score."""
        primary, alone = self.scorer.primary, self.best["scores"]
        compared = {
            split: {"ensemble": found[primary], "best_member": alone[split][primary]}
            for split, found in scores.items()
        }
        better = {split: self.scorer.better(*one.values()) for split, one in compared.items()}
        return {"primary": compared, "better": better}

    def move_in(self, folder: Path) -> None:
        """Replace `model/` and `predictions/` by those made in `folder`."""
        for name in (MODEL, PREDICTIONS):
            atomic.remove(self.run.path / name)
            if (folder / name).exists():
                (folder / name).rename(self.run.path / name)

    def _write_out_of_fold(self) -> None:
        """Write the prediction of every training row by the member that was not trained on it."""
        name = f"{PREDICTIONS}/validation.jsonl"
        texts = [(run.directory.path / name).read_text(encoding="utf-8") for run in self.runs]
        lines = [line for text in texts for line in text.splitlines()]
        atomic.write_text(self.run.path / name, "".join(f"{line}\n" for line in lines))

    def _facts(self) -> dict[str, Any]:
        """Return what a record says of the machine, of the metrics, and of the time the members
        took.
        """
        first, records = self.records[0], self.records
        heldout = first["heldout"]
        if not self.plan.same_rows:
            if self.plan.joined is None:
                heldout = "validation"
            elif heldout == "validation":
                heldout = None
        facts = {
            **{key: first[key] for key in OF_MACHINE if key in first},
            "hardware": describe_hardware(),
            "heldout": heldout,
            "primary": self.scorer.primary,
            "mode": self.scorer.mode,
            "untrained": None,
            "steps": sum(record["steps"] for record in records),
            "examples_per_second": statistics.fmean(
                record["examples_per_second"] for record in records
            ),
            "peak_memory_bytes": max(record["peak_memory_bytes"] for record in records),
            "timings": {
                "train": sum(record["timings"]["train"] for record in records),
                "members": sum(record["seconds"] for record in records),
            },
        }
        if "baselines" in first:
            facts["baselines"] = first["baselines"]
            if not self.plan.same_rows:
                known = [record["baselines"] for record in records if "baselines" in record]
                facts["baselines"] = {
                    name: means([one[name] for one in known if name in one])
                    for name in first["baselines"]
                }
        return facts


def finished_run(run: RunDirectory, member: Member, registry: Registry) -> Finished:
    """Return the run of a member that is done."""
    about = {"path": member.path, **member.varied}
    return Finished(member.number, member.directory(run), registry, about)
