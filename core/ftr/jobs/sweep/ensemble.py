"""The best trials of a sweep joined into one: their outputs averaged (`top3`), or their weights (`soup3`), as an ordinary run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.config.recorded import recorded_config
from ftr.config.training import TrainConfig
from ftr.data.cleaner import Cleaner, as_given
from ftr.data.rows import HELD_OUT
from ftr.errors import FtrError
from ftr.jobs.prepare import prepare
from ftr.jobs.run import check_same_data
from ftr.jobs.sweep.members import Chosen, Member, choose, of_weights
from ftr.runs.directory import RunDirectory, weights_of
from ftr.runs.ensemble_card import ensemble_card
from ftr.train.components import encode_targets
from ftr.train.export import save_model, write_card
from ftr.train.pretrained import Pretrained
from ftr.train.quiet import quiet_libraries
from ftr.train.scoring import Scorer

if TYPE_CHECKING:
    from ftr.registry import Registry
    from ftr.runs.leaderboard import Entry
    from ftr.runs.sweep import SweepDirectory
    from ftr.train.hardware import Numerics
    from ftr.train.inference import EncodedSplit, Engine
    from ftr.train.soup import Soup

FOLDER = "ensemble"
FROM_BEST = ("ftr", "command", "origins", "components", "packages", "config", "model_source", "labels", "data", "notes", "untrained")
"""What the record of an ensemble has from that of the best trial."""
Say = Callable[[str], None]
Summary = dict[str, Any]


def add_ensemble(
    directory: SweepDirectory, entries: Sequence[Entry], asked: str, ranked: tuple[str, str], registry: Registry, say: Say
) -> Summary:
    """Build `ensemble/`, or find it built of the same trials, and return what the sweep's record says of it.

    `best/` must be there; `ranked` is the ranked score and its mode. The search is over and its winner handed on: where no
    ensemble can be made the summary has the `cause`, which is said, and nothing is raised.
    """
    try:
        summary = Joining(directory, asked, ranked, registry, say).join(entries)
    except FtrError as error:
        summary = {"asked": asked, "cause": str(error)}
    except Exception as error:
        summary = {"asked": asked, "cause": f"{type(error).__name__}: {error}"}
    if "cause" in summary:
        say(f"no ensemble was made (`ensemble={asked}`): {summary['cause']}")
    return summary


@dataclass
class Joining:
    """One ensemble in the making, and what its members share: data, metrics, and numerics (fp32, what plain transformers computes)."""

    directory: SweepDirectory
    asked: str
    ranked: tuple[str, str]
    registry: Registry
    say: Say

    def join(self, entries: Sequence[Entry]) -> Summary:
        """Choose members, and build what is asked unless it is there. Raises what components raise."""
        quiet_libraries()
        most = int(self.asked.removeprefix("top").removeprefix("soup"))
        some_rows = self.splits["validation"].rows.to_list()
        chosen = choose(self.directory, entries, most, some_rows, self.registry, weights=of_weights(self.asked))
        for trial, cause in chosen.left_out.items():
            self.say(f"trial {trial} is left out of the ensemble: {cause}")
        count = len(chosen.members)
        if count < 2:
            return {"asked": self.asked, "cause": f"it takes 2 finished trials that can be joined, and there is {count or 'none'}"}
        if count < most:
            self.say(f"`ensemble={self.asked}`: only {count} finished trials can be joined")
        target = RunDirectory(self.directory.path / FOLDER)
        record = self._known(target, chosen)
        if record is None:
            with atomic.new_folder(target.path) as fresh:
                record = self._build(RunDirectory(fresh), chosen)
        return self._summary(record)

    @cached_property
    def best(self) -> dict[str, Any]:
        """The record of the winner in `best/`, with its scores."""
        return RunDirectory(self.directory.best).read()

    @cached_property
    def splits(self) -> dict[str, EncodedSplit]:
        """The encoded rows, as the winner reads them. Raises `DataError` where they changed."""
        from ftr.train.inference import EncodedSplit

        prepared = prepare(recorded_config(self.best, RunDirectory(self.directory.best).record), self.registry)
        check_same_data(self.best, prepared)
        return {name: EncodedSplit(*split.open()) for name, split in prepared.splits.items()}

    @cached_property
    def scorer(self) -> Scorer:
        """The metrics, and the score that ranks."""
        return Scorer.of(self.registry, self.best["config"]["metrics"], self.ranked)

    @cached_property
    def numerics(self) -> Numerics:
        """How the models are run here."""
        from ftr.train.hardware import choose_numerics

        return choose_numerics(TrainConfig.model_validate({"precision": "fp32"}))

    def _known(self, target: RunDirectory, chosen: Chosen) -> dict[str, Any] | None:
        if not target.record.is_file():
            return None
        record = target.read()
        about = record["ensemble"]
        same = (about["asked"], about["candidates"]) == (self.asked, _numbers(chosen.members))
        return record if same and target.is_whole() else None

    def _build(self, fresh: RunDirectory, chosen: Chosen) -> dict[str, Any]:
        began = time.time()
        self.say(f"joining trials {', '.join(map(str, _numbers(chosen.members)))}")
        engine, members, left_out = (self._soup if of_weights(self.asked) else self._average)(chosen.members, fresh.model)
        scores, state = self._score(engine, fresh.path, chosen.members[0])
        write_card(fresh.model, replace(chosen.members[0].card, state=state))
        record = {
            **{key: self.best[key] for key in FROM_BEST if key in self.best},
            "status": "done",
            "created": began,
            "finished": time.time(),
            "seconds": time.time() - began,
            "sweep": self.directory.path.name,
            "heldout": "test" if "test" in scores else "validation",
            "primary": self.scorer.primary,
            "mode": self.scorer.mode,
            "scores": scores,
            "state": state,
            "weights": weights_of(fresh.model),
            "numerics": asdict(self.numerics),
            "parameters": sum(p.numel() for model in (engine.model, *engine.others) for p in model.parameters()),
            "ensemble": {
                "asked": self.asked,
                "method": "weights" if of_weights(self.asked) else "outputs",
                "members": _numbers(members),
                "configurations": [_described(member) for member in members],
                "candidates": _numbers(chosen.members),
                "left_out": {**chosen.left_out, **left_out},
                "alone": {"trial": self.best["trial"], "scores": self.best["scores"]},
            },
        }
        fresh.write(record)
        atomic.write_text(fresh.path / "README.md", ensemble_card(record))
        return record

    def _average(self, members: list[Member], folder: Path) -> tuple[Engine, list[Member], dict[int, str]]:
        """Keep every member, to be asked each time."""
        from ftr.train.ensemble import load_engine, member_folders, write_ensemble

        write_ensemble(folder, [member.run.model for member in members], [_described(member) for member in members])
        return load_engine(member_folders(folder), members[0].head, members[0].card, self.numerics), members, {}

    def _soup(self, members: list[Member], folder: Path) -> tuple[Engine, list[Member], dict[int, str]]:
        """Average the weights of those that do not make validation worse, and save one plain checkpoint."""
        from ftr.train.ensemble import stir

        head, card = members[0].head, members[0].card
        folders, split = [member.run.model for member in members], self.splits["validation"]
        engine, soup = stir(folders, head, card, self.numerics, split, self.scorer, self._targets("validation", members[0]))
        save_model(folder, engine.model, engine.tokenizer, card)
        return engine, [members[number] for number in soup.kept], self._refused(members, soup)

    def _refused(self, members: list[Member], soup: Soup) -> dict[int, str]:
        found = {}
        for number, member in enumerate(members):
            if number not in soup.kept:
                found[member.entry.trial] = (
                    f"with it validation {self.scorer.primary} is {soup.tried[number]:.4g}, the soup's {soup.value:.4g}"
                )
                self.say(f"trial {member.entry.trial} is left out of the soup: {found[member.entry.trial]}")
        return found

    def _targets(self, name: str, member: Member) -> EncodedSplit | None:
        """Return a split encoded for the loss, where that ranks."""
        from ftr.train.inference import EncodedSplit

        if not self.scorer.loss:
            return None
        config = recorded_config(self.best, RunDirectory(self.directory.best).record)
        tokenizer = Pretrained(str(member.run.model)).tokenizer()
        rows = self.splits[name].rows.to_list()
        return EncodedSplit(*encode_targets(self.registry, config, member.head, tokenizer, member.card, rows).open())

    def _score(self, engine: Engine, folder: Path, member: Member) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write predictions and return scores and state: validation first, which sets the state that test is scored with."""
        from ftr.train.ensemble import judge

        scores: dict[str, Any] = {}
        state: dict[str, Any] | None = None
        data = recorded_config(self.best, RunDirectory(self.directory.best).record).data
        for name in HELD_OUT:
            if name in self.splits:
                predictions, scores[name], state = judge(engine, self.splits[name], self.scorer, state, self._targets(name, member))
                given = as_given(engine.head, self.splits[name].rows, predictions, Cleaner(data.clean, data.stop_words))
                atomic.write_lines(folder / "predictions" / f"{name}.jsonl", given)
        return scores, state or {}

    def _summary(self, record: dict[str, Any]) -> Summary:
        about, primary = record["ensemble"], record["primary"]
        scores = {split: found[primary] for split, found in record["scores"].items()}
        alone = {split: found[primary] for split, found in about["alone"]["scores"].items()}
        return {
            "asked": self.asked,
            "run": FOLDER,
            "method": about["method"],
            "members": about["members"],
            "left_out": {str(trial): cause for trial, cause in about["left_out"].items()},
            "primary": primary,
            "scores": scores,
            "alone": alone,
            "better": self.scorer.better(scores["validation"], alone["validation"]),
        }


def _numbers(members: Sequence[Member]) -> list[int]:
    return [member.entry.trial for member in members]


def _described(member: Member) -> dict[str, Any]:
    return {"trial": member.entry.trial, "value": member.entry.value, "values": dict(member.entry.values)}
