"""Join members into one model: averaged outputs, averaged weights, a vote, the best, or boosting.

SAMME, algorithm 2 of Zhu, Zou, Rosset and Hastie 2009, "Multi-class AdaBoost": with K classes and
row weights w that sum to 1, a member with the weighted error e on the training rows gets the vote
alpha = log((1 - e) / e) + log(K - 1), and the weights of the rows it got wrong are multiplied by
exp(alpha) for the next.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ftr import atomic
from ftr.config.schema import TrainConfig
from ftr.data.clean import as_given
from ftr.data.rows import HELD_OUT
from ftr.errors import PluginError
from ftr.model.components import make_head, make_model
from ftr.model.export import read_card, save_model, write_card
from ftr.runs.prepare import Prepared, encode_splits
from ftr.study.members import WEIGHTS, Member, member_directory
from ftr.train.checkpoint import link_files
from ftr.train.ensemble import judge, load_engine, member_folders, stir, write_ensemble
from ftr.train.hardware import choose_numerics, describe_hardware
from ftr.train.inference import EncodedSplit

if TYPE_CHECKING:
    from ftr.config.schema import RunConfig
    from ftr.model.export import ModelCard
    from ftr.registry.protocols import Head, State
    from ftr.registry.registry import Registry
    from ftr.runs.directory import RunDirectory
    from ftr.study.members import Group
    from ftr.train.hardware import Numerics
    from ftr.train.inference import Engine


MODEL, PREDICTIONS = "model", "predictions"
OF_MACHINE = ("numerics", "parameters", "trainable_parameters", "workers")


def join(run: Group, members: Sequence[Member]) -> dict[str, Any]:
    """Leave `model/` and `predictions/` of the whole in the run's directory, and return what its
    record says of it.

    Without an ensemble `model/` is that of the member best on validation; folds alone leave none.
    Raises what loading models raises.
    """
    joining = Joining(run, members)
    best = joining.best
    scores: dict[str, Any] = {}
    about: dict[str, Any] = {}
    state: State = {}
    if run.plan.joined is not None:
        run.say(f"joining {len(members)} members")
        with atomic.workroom(run.directory.path / "joined") as folder:
            scores, state, about = joining.ensemble(folder)
            joining.keep(folder)
    elif run.plan.same_rows:
        state = joining.take_best()
    if not run.plan.same_rows:
        joining.keep_out_of_fold()
    return {
        **joining.facts(),
        "best_member": best,
        "scores": scores or joining.means(),
        "state": state,
        **about,
    }


@dataclass
class Joining:
    """The joining of the members of one run that is under way."""

    run: Group
    members: Sequence[Member]

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The records of the members, in order."""
        return [self.run.done[member.number] for member in self.members]

    @cached_property
    def folders(self) -> list[Path]:
        """The checkpoints of the members, in order."""
        return [member_directory(self.run.directory, member).model for member in self.members]

    @cached_property
    def best(self) -> int:
        """The number of the member with the best primary score on its validation rows; the first,
        where there are none.
        """
        return self.members[self.order[0]].number

    @cached_property
    def order(self) -> list[int]:
        """The places of the members, the best first."""
        primary, sign = self.run.scorer.primary, -1 if self.run.scorer.mode == "max" else 1
        values = [record["scores"].get("validation", {}).get(primary) for record in self.records]
        known = [
            place
            for place, value in enumerate(values)
            if value is not None and not math.isnan(value)
        ]
        first = sorted(known, key=lambda place: (sign * values[place], place))
        return [*first, *(place for place in range(len(values)) if place not in known)]

    @cached_property
    def head(self) -> Head:
        """The head that all members have."""
        return make_head(self.run.registry, self.run.config.head)

    @cached_property
    def card(self) -> ModelCard:
        """What is known of how the members read a row."""
        return read_card(self.folders[0])

    @cached_property
    def numerics(self) -> Numerics:
        """How the models are asked: in fp32, what plain transformers computes."""
        return choose_numerics(TrainConfig.model_validate({"precision": "fp32"}))

    @cached_property
    def splits(self) -> dict[str, EncodedSplit]:
        """The encoded rows that no member was trained on."""
        return {
            name: self._rows(0, name)
            for name in HELD_OUT
            if name in self._prepared(0) and (self.run.plan.same_rows or name == "test")
        }

    def _prepared(self, place: int) -> dict[str, Any]:
        return dict(self.run.data.of(self.members[place].config).splits)

    def _rows(self, place: int, split: str) -> EncodedSplit:
        return EncodedSplit(*self._prepared(place)[split].open())

    def ensemble(self, folder: Path) -> tuple[dict[str, Any], State, dict[str, Any]]:
        """Make the whole in `folder`, and return its scores by split, its state, and what it
        consists of.
        """
        engine, about = (
            self._soup(folder) if self.run.plan.joined == "weights" else self._outputs(folder)
        )
        state = None if self.run.plan.same_rows else self._state_out_of_fold()
        scores: dict[str, Any] = {}
        for name, split in self.splits.items():
            predictions, scores[name], state = judge(engine, split, self.run.scorer, state)
            atomic.write_lines(
                folder / PREDICTIONS / f"{name}.jsonl",
                as_given(self.head, split.rows, predictions, self.card.cleaner),
            )
        state = state or {}
        write_card(folder / MODEL, replace(self.card, state=state))
        return scores, state, {"ensemble": {**about, **self._compared(scores)}}

    def _outputs(self, folder: Path) -> tuple[Engine, dict[str, Any]]:
        votes = (
            [record["boosted"]["alpha"] for record in self.records]
            if self.run.plan.joined == "votes"
            else []
        )
        described = [{"path": member.path, **member.apart} for member in self.members]
        write_ensemble(folder / MODEL, self.folders, described, votes)
        engine = load_engine(
            member_folders(folder / MODEL), self.head, self.card, self.numerics, tuple(votes)
        )
        return engine, {
            "method": self.run.plan.joined,
            "members": [member.number for member in self.members],
        }

    def _soup(self, folder: Path) -> tuple[Engine, dict[str, Any]]:
        ordered = [self.folders[place] for place in self.order]
        engine, soup = stir(
            ordered, self.head, self.card, self.numerics, self.splits["validation"], self.run.scorer
        )
        save_model(folder / MODEL, engine.model, engine.tokenizer, self.card)
        numbers = [self.members[place].number for place in self.order]
        left_out = {
            str(number): soup.tried[place]
            for place, number in enumerate(numbers)
            if place not in soup.kept
        }
        for number, value in left_out.items():
            self.run.say(
                f"member {number} is left out of the soup: with it validation "
                f"{self.run.scorer.primary} is {value:.4g}"
            )
        return engine, {
            "method": "weights",
            "members": [numbers[place] for place in soup.kept],
            "left_out": left_out,
        }

    def _state_out_of_fold(self) -> State | None:
        """Return the state tuned on all training rows, each as the member that did not train on it
        answers; None: nothing is tuned.
        """
        if not any(record["state"] for record in self.records):
            return {}
        rows, records = [], []
        for place, folder in enumerate(self.folders):
            split = self._rows(place, "validation")
            engine = load_engine([folder], self.head, self.card, self.numerics)
            rows += split.rows.to_list()
            records += engine.records(split)
        return self.head.tune(rows, records)

    def _compared(self, scores: dict[str, Any]) -> dict[str, Any]:
        """Return how the whole stands to its best member, by the primary score."""
        primary, alone = self.run.scorer.primary, self.run.done[self.best]["scores"]
        compared = {
            split: {"ensemble": found[primary], "best_member": alone[split][primary]}
            for split, found in scores.items()
        }
        better = {
            split: self.run.scorer.better(one["ensemble"], one["best_member"])
            for split, one in compared.items()
        }
        return {"primary": compared, "better": better}

    def keep(self, folder: Path) -> None:
        """Put what was made in its place."""
        for name in (MODEL, PREDICTIONS):
            atomic.remove(self.run.directory.path / name)
            if (folder / name).exists():
                (folder / name).rename(self.run.directory.path / name)

    def take_best(self) -> State:
        """Make `model/` and `predictions/` those of the best member, and return its state."""
        number = self.best
        source = member_directory(
            self.run.directory, next(one for one in self.members if one.number == number)
        ).path
        with atomic.workroom(self.run.directory.path / "joined") as folder:
            for name in (MODEL, PREDICTIONS):
                if (source / name).is_dir():
                    link_files(source / name, folder / name)
            self.keep(folder)
        return dict(self.run.done[number]["state"])

    def keep_out_of_fold(self) -> None:
        """Write the prediction of every training row by the member that was not trained on it."""
        found = []
        for member in self.members:
            path = (
                member_directory(self.run.directory, member).path / PREDICTIONS / "validation.jsonl"
            )
            found += path.read_text(encoding="utf-8").splitlines()
        atomic.write_text(
            self.run.directory.path / PREDICTIONS / "validation.jsonl",
            "".join(f"{line}\n" for line in found),
        )

    def means(self) -> dict[str, Any]:
        """Return the mean score of the members by split, where there is no whole to score."""
        from ftr.study.members import summary

        return {
            split: {name: one["mean"] for name, one in found.items()}
            for split, found in summary(self.records).items()
        }

    def facts(self) -> dict[str, Any]:
        """Return what a record says of the machine, of the metrics, and of the time the members
        took.
        """
        first = self.records[0]
        seconds = [record["timings"]["train"] for record in self.records]
        heldout = (
            "validation"
            if self.run.plan.joined is None and not self.run.plan.same_rows
            else first["heldout"]
        )
        if (
            self.run.plan.joined is not None
            and not self.run.plan.same_rows
            and heldout == "validation"
        ):
            heldout = None
        return {
            **{key: first[key] for key in OF_MACHINE if key in first},
            "hardware": describe_hardware(),
            "heldout": heldout,
            "primary": self.run.scorer.primary,
            "mode": self.run.scorer.mode,
            "untrained": None,
            "steps": sum(record["steps"] for record in self.records),
            "examples_per_second": sum(record["examples_per_second"] for record in self.records)
            / len(self.records),
            "peak_memory_bytes": max(record["peak_memory_bytes"] for record in self.records),
            "timings": {
                "train": sum(seconds),
                "members": sum(record["seconds"] for record in self.records),
            },
            **({"baselines": self._baselines()} if "baselines" in first else {}),
        }

    def _baselines(self) -> dict[str, Any]:
        """Return the baselines: of the first member, or the mean of those of the folds."""
        from ftr.study.members import summary

        found: dict[str, Any] = self.records[0]["baselines"]
        if self.run.plan.same_rows:
            return found
        means = {}
        for name in found:
            each = summary(
                [
                    {"scores": record["baselines"][name]}
                    for record in self.records
                    if name in record.get("baselines", {})
                ]
            )
            means[name] = {
                split: {score: one["mean"] for score, one in scores.items()}
                for split, scores in each.items()
            }
        return means


Array = npt.NDArray[np.float64]
Right = npt.NDArray[np.bool_]


def boost(run: Group) -> None:
    """Train the members that are not done, in turn; what each round came to is in the member's
    record under `boosted`.

    It ends early, with a note, after a member that gets every row right, and before one that is no
    better than chance, which is left out unless it is the first.
    """
    weights: Array | None = None
    for member in run.plan.members:
        record = run.done.get(member.number)
        if record is None:
            _write_weights(run.directory, member, weights)
            record = run.train_here(member)
        right = _right(run, member)
        if weights is None:
            weights = np.full(len(right), 1 / len(right))
        classes = len(record["labels"])
        error, alpha = vote(right, weights, classes)
        ending = _ending(error, classes)
        kept = ending is None or error == 0 or member.number == 0
        boosted = {
            "error": error,
            "alpha": alpha if alpha > 0 else 1.0,
            "kept": kept,
            **({"ending": ending} if ending else {}),
        }
        if record.get("boosted") != boosted:
            record = {**record, "boosted": boosted}
            member_directory(run.directory, member).write(record)
        run.done[member.number] = record
        run.say(
            f"{member}: weighted error on the training rows {error:.4f}, its vote weighs "
            f"{boosted['alpha']:.4g}"
        )
        if ending is not None:
            run.end_early(
                f"boosting ended with member {member.number}: {ending}",
                member.number + (1 if kept else 0),
            )
            return
        weights = reweighted(right, weights, alpha)


def vote(right: Right, weights: Array, classes: int) -> tuple[float, float]:
    """Return the weighted error of a member and the weight of its vote.

    Of a member without errors, whose vote would be infinite, half a row is taken to be wrong.
    """
    error = float(weights[~right].sum() / weights.sum())
    counted = max(error, 0.5 / len(right))
    alpha = math.log((1 - counted) / counted) + math.log(classes - 1) if counted < 1 else -math.inf
    return error, alpha


def reweighted(right: Right, weights: Array, alpha: float) -> Array:
    """Return the weights for the next member; they sum to 1."""
    changed = np.where(right, weights, weights * math.exp(alpha))
    return np.asarray(changed / changed.sum(), dtype=np.float64)


def _ending(error: float, classes: int) -> str | None:
    if error == 0:
        return "it gets every training row right, and nothing is left to weigh"
    if error >= 1 - 1 / classes:
        return f"its weighted error of {error:.4f} is no better than chance among {classes} classes"
    return None


def _write_weights(directory: RunDirectory, member: Member, weights: Array | None) -> None:
    """Put the weights of the rows, of mean 1, where the training of a member finds them."""
    if weights is None:
        return
    content = io.BytesIO()
    np.save(content, weights * len(weights))
    atomic.write_bytes(member_directory(directory, member).path / WEIGHTS, content.getvalue())


def _right(run: Group, member: Member) -> Right:
    """Return which training rows a member gets right, in their stored order."""
    from ftr.model.export import read_card
    from ftr.train.ensemble import load_engine
    from ftr.train.hardware import choose_numerics
    from ftr.train.inference import EncodedSplit

    prepared = run.data.of(member.config)
    head = make_head(run.registry, member.config.head)
    model = member_directory(run.directory, member).model
    card = read_card(model)
    engine = load_engine(
        [model], head, card, choose_numerics(TrainConfig.model_validate({"precision": "fp32"}))
    )
    rows = EncodedSplit(*prepared.splits["train"].open()).rows.to_list()
    split = _to_answer(run.registry, member.config, prepared, rows)
    predictions = engine.decode(rows, engine.records(split), card.state)
    inputs = head.score_inputs(rows, predictions, card.labels)
    given, true = inputs["predictions"], inputs["references"]
    if len(given) != len(rows):
        raise PluginError(
            f"`boosting` needs one class a row: the head `{member.config.head.name}` gives "
            f"{len(given)} for {len(rows)} rows."
        )
    return np.asarray([bool(one == other) for one, other in zip(given, true, strict=True)])


def _to_answer(
    registry: Registry, config: RunConfig, prepared: Prepared, rows: Sequence[Any]
) -> Any:
    """Encode training rows as those that are to be answered are."""
    from ftr.train.inference import EncodedSplit

    head, model = make_head(registry, config.head), make_model(registry, config.model, config.train)
    stored = encode_splits(
        config, registry, head, model, prepared.settings, {"training rows": rows}
    )
    return EncodedSplit(*stored["training rows"].open())
