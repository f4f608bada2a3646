"""Members of a run: seeds, folds, ensembles and boosting; each member is an ordinary run below its
parent.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftr.cluster.storage import Storage
from ftr.config.schema import CvConfig, RunConfig
from ftr.errors import ConfigError
from ftr.runs.directory import LOCK, REJECTED, RunDirectory, hold, write_rejected
from ftr.runs.prepare import Prepared, prepare, with_baselines
from ftr.runs.record import beginning
from ftr.runs.report import decimals
from ftr.runs.report import number as as_number
from ftr.runs.run import (
    Say,
    check_same_data,
    close,
    found,
    note_beginning,
    traceback_kept,
    train,
    write_ending,
)
from ftr.train.checkpoint import attempts
from ftr.train.scoring import Scorer

if TYPE_CHECKING:
    from ftr.registry.protocols import Head
    from ftr.registry.registry import Registry


Kind = Literal["seeds", "folds", "bagging", "soup", "boosting"]
Joined = Literal["outputs", "weights", "votes"]
JOINED: dict[Kind, Joined] = {"soup": "weights", "boosting": "votes"}
"""What is joined where the kind decides it; else outputs are, with `ensemble`, or nothing is."""

MEMBERS = "members"
DEFAULT_MEMBERS, DEFAULT_FOLDS = 3, 5


@dataclass(frozen=True, slots=True)
class Member:
    """One training of several: its number, its own configuration, and what sets it apart (`seed`,
    `fold`, `bootstrap`).
    """

    number: int
    config: RunConfig
    apart: dict[str, int]

    @property
    def path(self) -> str:
        """Its run directory, below that of the run."""
        return f"{MEMBERS}/{self.number}"

    def __str__(self) -> str:
        """Return what a person calls it: `member 1 (seed 1)`."""
        return (
            f"member {self.number} "
            f"({', '.join(f'{key} {value}' for key, value in self.apart.items())})"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """How several models come about, and the members, in order.

    `joined` is what is made of them: their `outputs` averaged, the mean of their `weights`, their
    `votes`, or nothing (None).
    """

    kind: Kind
    joined: Joined | None
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
    weights that began apart have no mean of use.
    """
    kind, count = _kind(config)
    members = []
    for number in range(count):
        apart: dict[str, int] = {"seed": config.seed + number}
        if kind == "folds":
            apart = {"fold": number}
        if kind == "bagging":
            apart["bootstrap"] = config.data.seed + number
        members.append(Member(number, _alone(config, number, apart, count), apart))
    otherwise: Joined | None = None if config.ensemble is None else "outputs"
    return Plan(kind, JOINED.get(kind, otherwise), members)


def check_plan(plan: Plan, config: RunConfig, head: Head) -> None:
    """Raise `ConfigError` naming both keys where the head, or the splits there will be, do not
    allow what is asked.
    """
    from ftr.registry.protocols import Combines, Votes

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


def _alone(config: RunConfig, number: int, apart: dict[str, int], count: int) -> RunConfig:
    """Return the configuration of one member: what `ftr run` would be given to train it alone."""
    values: dict[str, Any] = {
        "seeds": 1,
        "ensemble": None,
        "boosting": None,
        "ensemble_size": None,
        "seed": apart.get("seed", config.seed),
        # Of the same rows once is enough.
        "baselines": config.baselines and (number == 0 or "fold" in apart),
        # The whole run is mirrored, its members within.
        "compute": config.compute.model_copy(update={"storage": None}),
    }
    if config.ensemble == "soup":
        values["init_seed"] = config.weights_seed
    if "fold" in apart:
        values["cv"] = CvConfig(folds=count, fold=apart["fold"])
    if "bootstrap" in apart:
        values["data"] = config.data.model_copy(update={"bootstrap": apart["bootstrap"]})
    return RunConfig.model_validate(config.model_copy(update=values).model_dump(mode="json"))


FROM_RUN = ("ftr", "command", "origins", "components", "packages")
"""What the record of a member has from that of the run."""
UNREAD = (
    "seed",
    "init_seed",
    "learning_rate",
    "batch_size",
    "epochs",
    "trainer",
    "compute",
    "output",
    "baselines",
    "plugins",
)
"""Keys that do not decide what the encoded rows are."""
WEIGHTS = "weights.npy"


@dataclass(slots=True)
class Data:
    """The encoded rows of the members: each distinct content is read and encoded once."""

    registry: Registry
    known: dict[str, Prepared] = field(default_factory=dict)

    def put(self, config: RunConfig, prepared: Prepared) -> None:
        """Take what was prepared for a configuration already."""
        self.known[_content(config)] = prepared

    def of(self, config: RunConfig) -> Prepared:
        """Return the rows of a configuration. Raises what `prepare` raises."""
        key = _content(config)
        if key not in self.known:
            self.known[key] = prepare(config, self.registry)
        return self.known[key]


@dataclass(frozen=True, slots=True)
class Opened:
    """A member under way: its directory, which this process holds, the record it began with, its
    rows, and the rows' weights.
    """

    member: Member
    directory: RunDirectory
    record: dict[str, Any]
    prepared: Prepared
    weights: Path | None


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


@contextmanager
def opened(
    run: RunDirectory, opening: Mapping[str, Any], member: Member, data: Data, say: Say
) -> Iterator[Opened]:
    """Make the directory of a member, or take up the one of an attempt before, hold it, and close
    its record if it fails within.

    Raises `DataError` when the rows are not those the attempt before had.
    """
    directory = member_directory(run, member)
    directory.path.mkdir(parents=True, exist_ok=True)
    with hold(directory.path):
        known = directory.read() if directory.record.is_file() else None
        prepared = data.of(member.config)
        if known is not None:
            check_same_data(known, prepared)
            note_beginning(directory, known)
        record = {**(known or {}), **_beginning(run, opening, member, known), **found(prepared)}
        record.pop("finished", None)
        record.pop("error", None)
        record = with_baselines(record, member.config, prepared, say)
        directory.write(record)
        if prepared.rejected:
            write_rejected(directory.path / REJECTED, prepared.rejected)
        weights = directory.path / WEIGHTS
        try:
            with traceback_kept(directory, say):
                yield Opened(
                    member, directory, record, prepared, weights if weights.is_file() else None
                )
        except BaseException as error:
            write_ending(directory, {**record, "resumed": attempts(directory.path)[1:]}, error, say)
            raise


def finish(open_member: Opened, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Close the record of a member that was trained, write its card, and return the record."""
    return close(open_member.directory, {**open_member.record, **outcome}).record


def train_here(
    run: RunDirectory, opening: Mapping[str, Any], member: Member, data: Data, say: Say
) -> dict[str, Any]:
    """Train a member in this process (or, as its configuration says, on workers), and return its
    record.
    """
    with opened(run, opening, member, data, say) as begun:
        return finish(begun, train(begun.directory, member.config, begun.prepared, begun.weights))


def _beginning(
    run: RunDirectory, opening: Mapping[str, Any], member: Member, known: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        **beginning(),
        **{key: opening[key] for key in FROM_RUN if key in opening},
        "created": known["created"] if known else time.time(),
        "process": os.getpid(),
        "config": member.config.model_dump(mode="json"),
        "member": {"of": run.path.name, "number": member.number, **member.apart},
    }


def _content(config: RunConfig) -> str:
    dumped = config.model_dump(mode="json", exclude=set(UNREAD))
    return json.dumps(dumped, sort_keys=True)


Record = Mapping[str, Any]
Summary = dict[str, dict[str, dict[str, float | None]]]


def entry(member: Member, record: Record | None) -> dict[str, Any]:
    """Return what the record of the run says of a member; without `record`, of one that is not
    done.
    """
    known: dict[str, Any] = {"path": member.path, **member.apart, "status": "waiting"}
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


def in_words(record: Record) -> str:
    """Return how a member that is done scored, and its seconds: `validation accuracy 0.8712, test
    accuracy 0.8650, 34 s`.
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


class Group:
    """The members of a run that is under way, in its directory, which this process holds."""

    def __init__(
        self,
        directory: RunDirectory,
        record: dict[str, Any],
        config: RunConfig,
        plan: Plan,
        data: Data,
        registry: Registry,
        say: Say,
    ) -> None:
        self.directory, self.record, self.config, self.plan = directory, record, config, plan
        self.data, self.registry, self.say = data, registry, say
        self.scorer = Scorer.of(registry, config.metrics)
        self.done: dict[int, dict[str, Any]] = {}
        self.began, self.before = time.monotonic(), float(record.get("seconds", 0.0))

    @property
    def seconds(self) -> float:
        """Seconds the run took so far, over all its attempts."""
        return self.before + time.monotonic() - self.began

    def train_here(self, member: Member) -> dict[str, Any]:
        """Train a member in this process and take it among those that are done."""
        self.say(f"{member}: {member.number + 1} of {len(self.plan.members)}")
        return self.finished(
            member, train_here(self.directory, self.record, member, self.data, self.say)
        )

    def finished(self, member: Member, record: dict[str, Any]) -> dict[str, Any]:
        """Take a member that was just trained among those that are done, and say so."""
        self._took(member, record)
        self.say(f"{member}: {in_words(record)}")
        self._keep()
        self.mirror()
        return record

    def end_early(self, note: str, members: int) -> None:
        """Leave it at the first `members`: the rest is not trained, and `note` says why."""
        self.say(note)
        self.record["notes"] = [*self.record.get("notes", []), note]
        self.done = {number: record for number, record in self.done.items() if number < members}

    def _took(self, member: Member, record: dict[str, Any]) -> None:
        self.done[member.number] = record

    def _keep(self) -> None:
        self.record["members"] = [
            entry(member, self.done.get(member.number)) for member in self.plan.members
        ]
        self.directory.write(self.record)

    def mirror(self) -> None:
        """Bring the mirror of the run, if it has one, up to date."""
        storage = self.config.compute.storage
        if storage:
            Storage.of(storage).mirror(
                self.directory.path, self.directory.path.name, exclude=(LOCK, f"{MEMBERS}/*/{LOCK}")
            )
