"""Members of a run: seeds, folds, ensembles and boosting; each member is an ordinary run below its
parent.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ftr import atomic
from ftr.config.schema import CvConfig, RunConfig
from ftr.data.encode import data_key
from ftr.errors import ConfigError
from ftr.registry.protocols import Combines, Head, State, Votes
from ftr.registry.registry import Registry
from ftr.runs.directory import RunDirectory
from ftr.runs.prepare import Prepared, prepare
from ftr.runs.report import decimals
from ftr.runs.report import number as as_number
from ftr.runs.run import (
    MEMBERS,
    Say,
)
from ftr.study.ensemble import MODEL, PREDICTIONS, Finished, Method, build_ensemble, held_out
from ftr.train.checkpoint import link_files
from ftr.train.hardware import describe_hardware
from ftr.train.scoring import Scorer

Kind = Literal["seeds", "folds", "bagging", "soup", "boosting"]
JOINED: dict[Kind, Method] = {"soup": "weights", "boosting": "votes"}
"""What is joined where the kind decides it; else outputs are, with `ensemble`, or nothing is."""

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

    def __str__(self) -> str:
        """Return what a person calls it: `member 1 (seed 1)`."""
        return (
            f"member {self.number} "
            f"({', '.join(f'{key} {value}' for key, value in self.varied.items())})"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """How several models come about, and the members, in order.

    `joined` is what is made of them: their `outputs` averaged, the mean of their `weights`, their
    `votes`, or nothing (None).
    """

    kind: Kind
    joined: Method | None
    members: Sequence[Member]

    @property
    def asked(self) -> str:
        """The setting that asked for it, for messages."""
        if self.joined is None:
            return (
                f"cv.folds={len(self.members)}"
                if self.kind == "folds"
                else f"seeds={len(self.members)}"
            )
        return (
            f"boosting={len(self.members)}" if self.kind == "boosting" else f"ensemble={self.kind}"
        )

    @property
    def same_rows(self) -> bool:
        """Whether all members validate on the same rows; folds do not."""
        return self.kind != "folds"


def plan_of(config: RunConfig) -> Plan:
    """Return the members of a configuration for which `config.several` holds.

    Member i trains with the seed `seed` + i, except on folds, which share the seed; bootstrap
    samples are drawn with the seed `data.seed` + i. The members of a soup share `init_seed`:
    weights that began differently have no mean of use.
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
    if plan.joined == "outputs" and not isinstance(head, Combines):
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
        if not isinstance(head, Votes):
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
    """Return the configuration of one member: what `ftr run` would be given to train it alone."""
    values: dict[str, Any] = {
        "seeds": 1,
        "ensemble": None,
        "boosting": None,
        "ensemble_size": None,
        "seed": varied.get("seed", config.seed),
        # Of the same rows once is enough.
        "baselines": config.baselines and (number == 0 or "fold" in varied),
        # The whole run is mirrored, its members within.
        "compute": config.compute.model_copy(update={"storage": None}),
    }
    if config.ensemble == "soup":
        values["init_seed"] = config.weights_seed
    if "fold" in varied:
        values["cv"] = CvConfig(folds=count, fold=varied["fold"])
    if "bootstrap" in varied:
        values["data"] = config.data.model_copy(update={"bootstrap": varied["bootstrap"]})
    return RunConfig.model_validate(config.model_copy(update=values).model_dump(mode="json"))


@dataclass(slots=True)
class Data:
    """The encoded rows of the members: each distinct content is read and encoded once."""

    registry: Registry
    known: dict[str, Prepared] = field(default_factory=dict)

    def put(self, config: RunConfig, prepared: Prepared) -> None:
        """Take what was prepared for a configuration already."""
        self.known[data_key(config)] = prepared

    def of(self, config: RunConfig) -> Prepared:
        """Return the rows of a configuration. Raises what `prepare` raises."""
        key = data_key(config)
        if key not in self.known:
            self.known[key] = prepare(config, self.registry)
        return self.known[key]


def member_directory(run: RunDirectory, member: Member) -> RunDirectory:
    """Return the run directory of a member, which may not be there yet."""
    return RunDirectory(run.path / MEMBERS / str(member.number))


def done_record(run: RunDirectory, member: Member) -> dict[str, Any] | None:
    """Return the record of a member that is done, or None.

    Raises `ModelError` when its weights were changed.
    """
    directory = member_directory(run, member)
    record = directory.read() if directory.record.is_file() else None
    if record is None or record["status"] != "done":
        return None
    directory.check_weights()
    return record


Record = Mapping[str, Any]
Summary = dict[str, dict[str, dict[str, float | None]]]


def entry(member: Member, record: Record | None) -> dict[str, Any]:
    """Return what the record of the run says of a member; without `record`, of one that is not
    done.
    """
    known: dict[str, Any] = {"path": member.path, **member.varied, "status": "waiting"}
    if record is None:
        return known
    told = {
        key: record[key]
        for key in ("status", "scores", "best", "seconds", "boosted", "note")
        if key in record
    }
    return {**known, **told}


def summary(records: Sequence[Record]) -> Summary:
    """Return by split and score the `mean` of the members, their standard deviation `sd`, and how
    many (`n`) have the score.

    The deviation is that of a sample (divided by n - 1), and None for one member; scores that are
    no single numbers are left out.
    """
    splits = dict.fromkeys(split for record in records for split in record["scores"])
    return {split: _of([record["scores"].get(split, {}) for record in records]) for split in splits}


def _of(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    names = dict.fromkeys(
        name for one in scores for name, value in one.items() if _is_number(value)
    )
    found: dict[str, dict[str, float | None]] = {}
    for name in names:
        values = [float(one[name]) for one in scores if _is_number(one.get(name))]
        spread = statistics.stdev(values) if len(values) > 1 else None
        found[name] = {"mean": statistics.fmean(values), "sd": spread, "n": len(values)}
    return found


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


OF_MACHINE = ("numerics", "parameters", "trainable_parameters", "workers")


class Combined:
    """What is made of the members of a run: `model/`, `predictions/` and scores.

    `done` has the records of the members by number.
    """

    def __init__(
        self,
        run: RunDirectory,
        plan: Plan,
        done: Mapping[int, dict[str, Any]],
        data: Data,
        scorer: Scorer,
        registry: Registry,
        say: Say,
    ) -> None:
        self.run, self.plan, self.data, self.scorer, self.say = run, plan, data, scorer, say
        self.members = [member for member in plan.members if member.number in done]
        self.records = [done[member.number] for member in self.members]
        self.runs = [finished_run(run, member, registry) for member in self.members]
        ranked = sorted(range(len(self.members)), key=self._place)
        self.ranked = [self.runs[place] for place in ranked]
        """The runs, the best on its validation rows first; in order, where there are none."""
        self.best = self.records[ranked[0]]

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
        combined: dict[str, Any] = {"scores": self._means(), "state": {}}
        with atomic.workroom(self.run.path / "joined") as folder:
            if self.plan.joined is not None:
                self.say(f"joining {len(self.members)} members")
                combined = self._ensemble(self.plan.joined, folder)
            elif self.plan.same_rows:
                for name in (MODEL, PREDICTIONS):
                    if (source := self.ranked[0].directory.path / name).is_dir():
                        link_files(source, folder / name)
                combined["state"] = dict(self.best["state"])
            self.move_in(folder)
        if not self.plan.same_rows:
            self._write_out_of_fold()
        return {**self._facts(), "best_member": self.ranked[0].number, **combined}

    def _ensemble(self, method: Method, folder: Path) -> dict[str, Any]:
        """Build the ensemble in `folder`, of rows that no member was trained on."""
        splits = held_out(self.data.of(self.members[0].config))
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
            "scores": built.scores or self._means(),
            "state": built.state,
            "ensemble": about,
        }

    def _state_out_of_fold(self) -> State | None:
        """Return the state tuned on all training rows, each as the member that did not train on it
        answers; None: nothing is tuned.
        """
        if not any(record["state"] for record in self.records):
            return {}
        rows, records = [], []
        for member, run in zip(self.members, self.runs, strict=True):
            split = held_out(self.data.of(member.config))["validation"]
            rows += split.rows.to_list()
            records += run.engine().records(split)
        return self.runs[0].head.tune(rows, records)

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

    def _means(self) -> dict[str, Any]:
        return _means_of([record["scores"] for record in self.records])

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
                    name: _means_of([one[name] for one in known if name in one])
                    for name in first["baselines"]
                }
        return facts


def finished_run(run: RunDirectory, member: Member, registry: Registry) -> Finished:
    """Return the run of a member that is done."""
    about = {"path": member.path, **member.varied}
    return Finished(member.number, member_directory(run, member), registry, about)


def _means_of(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    means = summary([{"scores": one} for one in scores])
    return {
        split: {name: one["mean"] for name, one in found.items()} for split, found in means.items()
    }
