"""Score a finished run on its own held-out rows or on other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.config.keys import check_keys
from ftr.config.parse import read_settings
from ftr.config.resolve import flat, recorded_config, resolve
from ftr.config.schema import RunConfig
from ftr.data.clean import as_given
from ftr.data.encode import cache_folder, unknown_note
from ftr.data.prepare import prepare_rows
from ftr.data.read import load_rows
from ftr.errors import ConfigError, DataError
from ftr.progress import ProgressLine
from ftr.registry.registry import Registry
from ftr.runs.directory import RECORD, refused_rows_kept, run_or_winner
from ftr.runs.predictor import Predictor, load, model_folder
from ftr.runs.record import recorded_registry
from ftr.runs.run import Settings, merged
from ftr.train.intervals import interval_facts
from ftr.train.scoring import Scorer, remarks

if TYPE_CHECKING:
    from ftr.data.prepare import PreparedRows
    from ftr.model.folder import ModelCard
    from ftr.registry.protocols import Head, Prediction, Row
    from ftr.runs.directory import RunDirectory


READING = ("dataset", "data")
"""Groups of keys that an evaluation may set; all others are the run's."""
CLEANING = ("data.clean", "data.stop_words")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of a model on one split with their intervals, its predictions, and notes on the data.

    `interval` says how the intervals were found.
    """

    split: str
    rows: int
    scores: dict[str, Any]
    intervals: dict[str, Any]
    interval: dict[str, Any]
    predictions: list[Prediction]
    rejected: int
    notes: list[str]
    state: dict[str, Any]


def evaluate(
    run: str | Path,
    settings: Settings = None,
    *,
    split: str | None = None,
    predictions: str | Path | None = None,
    calibrate: bool = False,
    save_state: bool = False,
    backend: str = "torch",
    registry: Registry | None = None,
    **keys: object,
) -> Evaluation:
    """Score the model of `run` with its own metrics and state (threshold), as `ftr evaluate` does.

    Without settings the rows are those that the run held out. `dataset=...` scores all rows of
    other data, with the model's own label map. `predictions` is a file to write. With `calibrate`
    the state is first chosen on the validation rows of that data, and `save_state` saves it in the
    model. Settings are given as to `ftr.run`, `backend` as to `ftr.load`. Raises `DataError`,
    `ConfigError`, `ModelError`.

        ftr.evaluate("runs/ID").scores["accuracy"]
        ftr.evaluate("runs/ID", "reviews.csv", predictions="scored.jsonl")
    """
    asked = merged(settings, keys)
    if save_state and not calibrate:
        raise ConfigError(
            "`save_state` (`--save-state`) needs `calibrate` (`--calibrate`): it saves the "
            "calibrated threshold."
        )
    directory = run_or_winner(run)
    record = directory.read()
    if save_state:
        directory.check_links()
    known = registry or recorded_registry(record)
    line = ProgressLine()
    with line.stage("model"):
        predictor = load(model_folder(directory.path), registry=known, backend=backend)
    with line.stage("reading"):
        rows, other = rows_of(directory, asked, known, predictor.head, predictor.card.labels)
    if record.get("several") == "folds" and not other:
        _leave_out_folds(rows, directory.path, split)
    name = split or next(
        (part for part in ("test", "validation", "train") if part in rows.splits), "test"
    )
    if name not in rows.splits:
        raise DataError(
            f"`--split {name}`: the data has only {', '.join(f'`{part}`' for part in rows.splits)}."
        )
    if calibrate:
        _calibrate(predictor, rows, name, save_state)
    with line.stage("evaluation"):
        found = _scored(predictor, rows, name, known, line)
    if predictions is not None:
        atomic.write_output(Path(predictions), atomic.json_lines(found.predictions))
    return found


def _scored(
    predictor: Predictor, rows: PreparedRows, name: str, known: Registry, line: ProgressLine
) -> Evaluation:
    """Predict and score a split, and add notes on it to those of the rows."""
    chosen: Sequence[Row] = rows.splits[name]
    predictor.tokens.clear()
    answers: list[Prediction] = []
    for answer in predictor.stream(chosen, restore=False):
        answers.append(answer)
        line.update(f"{name} {len(answers)}/{len(chosen)}", len(answers) / len(chosen))
    line.update(f"{name}: scores and intervals")
    rows.notes += remarks(
        predictor.head, {name: chosen}, predictor.card.metrics, predictor.card.labels
    )
    rows.notes += [note for note in [unknown_note(name, predictor.tokens)] if note]
    scorer = Scorer.of(known, predictor.card.metrics)
    scored = (predictor.head, chosen, answers, predictor.card.labels)
    scores = scorer.score(*scored)
    facts = interval_facts({name: scorer.intervals(*scored, scores)})
    answers = as_given(predictor.head, chosen, answers, predictor.cleaner)
    return Evaluation(
        split=name,
        rows=len(chosen),
        scores=scores,
        intervals=facts["intervals"][name],
        interval=facts["interval"],
        predictions=answers,
        rejected=sum(item.split == name for item in rows.rejected),
        notes=rows.notes,
        state=predictor.card.state,
    )


def rows_of(
    directory: RunDirectory,
    settings: Mapping[str, object] | Sequence[str],
    registry: Registry,
    head: Head,
    labels: Sequence[str],
) -> tuple[PreparedRows, bool]:
    """Return the rows of a run, read again, or those of other data that `settings` name, and
    whether they do.

    Other rows are read with the `labels` of the model.
    """
    record = directory.read()
    config, other = _config(_reading(record), settings, registry, directory.record)
    with refused_rows_kept(directory.path.parent):
        return _rows(config, registry, head, labels if other else None), other


def rows_for_card(
    model: Path, card: ModelCard, settings: Sequence[str], registry: Registry, head: Head
) -> PreparedRows:
    """Return the rows of the data that `settings` name, read for a model directory without a run.

    Raises `ConfigError`, `DataError`.
    """
    asked = _asked(settings)
    if not any(key.partition(".")[0] == "dataset" for key in asked):
        raise ConfigError("`dataset` is missing: give the labelled rows with `dataset=FILE`.")
    own = {
        "model": str(model),
        "metrics": list(card.metrics),
        "head": card.head,
        **{f"head.{key}": value for key, value in card.head_options.items()},
        "data.clean": list(card.clean),
        "data.stop_words": card.stop_words,
    }
    config = resolve({**own, **asked}, registry).config
    with refused_rows_kept(model.parent):
        return _rows(config, registry, head, card.labels)


def _reading(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record with the `cv.folds` of the training, which `ensemble=folds` does not
    name.
    """
    config: dict[str, Any] = record["config"]
    if record.get("several") != "folds":
        return record
    own = {
        **config,
        "ensemble": None,
        "ensemble_size": None,
        "cv": {"folds": len(record["members"]), "fold": 0},
    }
    return {**record, "config": own}


def _leave_out_folds(rows: PreparedRows, run: Path, split: str | None) -> None:
    """Remove the rows that are in a fold: most members of the run were trained on each of them."""
    if split in ("validation", "train") or "test" not in rows.splits:
        raise DataError(
            f"every row of `{run}` but the test rows is in a fold, and most members were trained "
            f"on it: `summary` in `{run / RECORD}` has the scores of the folds, `ftr evaluate "
            f"{run}/members/0 --split validation` scores one. Other data: `dataset=FILE`."
        )
    for name in ("train", "validation"):
        rows.splits.pop(name, None)


def _config(
    record: dict[str, Any],
    settings: Mapping[str, object] | Sequence[str],
    registry: Registry,
    file: Path,
) -> tuple[RunConfig, bool]:
    """Return the run's configuration with `settings` on top, and whether they name other data."""
    asked = _asked(settings)
    other = any(key.partition(".")[0] == "dataset" for key in asked)
    for key in asked:
        if not other and key not in ("data.limit_test", "data.limit_validation"):
            raise ConfigError(
                f"`{key}` would split the run's own data again and score rows it was trained on: "
                "give `dataset=` as well."
            )
    # This evaluates the model in the run's folder, on this machine.
    unused = ("model", "compute", "trainer", *(["dataset"] if other else []))
    base = {
        key: value
        for key, value in flat(recorded_config(record, file, unused=unused)).items()
        if not key.startswith("trainer.")
        and not (other and key.startswith(("dataset", "data.limit")))
    }
    return resolve({**base, **asked}, registry).config, other


def _asked(settings: Mapping[str, object] | Sequence[str]) -> dict[str, Any]:
    given = read_settings(settings)
    check_keys(given)
    asked = {key: setting.value for key, setting in given.items()}
    for key in asked:
        if key.partition(".")[0] not in READING:
            raise ConfigError(
                f"`{key}`: an evaluation can set only `dataset.*` and `data.*`; the rest is the "
                "run's. Train again to change it."
            )
        if key in CLEANING:
            raise ConfigError(
                f"`{key}`: the cleaning of texts is part of the model. Leave the key out, or train "
                "again to change it."
            )
    return asked


def _calibrate(predictor: Predictor, rows: PreparedRows, scored: str, save: bool) -> None:
    if scored == "validation" or "validation" not in rows.splits:
        raise DataError(
            "`--calibrate` uses validation rows and scores test rows: give both, "
            "`dataset.validation=` and `dataset.test=`."
        )
    held = {"validation": rows.splits["validation"]}
    rows.notes += remarks(predictor.head, held, predictor.card.metrics, predictor.card.labels)
    if not predictor.calibrate(held["validation"]):
        rows.notes.append(f"validation: head `{predictor.card.head}` found nothing to calibrate")
    if save:
        predictor.save_state()


def _rows(
    config: RunConfig, registry: Registry, head: Head, labels: Sequence[str] | None
) -> PreparedRows:
    cache = cache_folder(config.data.cache, config.output)
    loaded = load_rows(
        config.dataset.name, config.dataset.options, registry, head.schema, labels or (), cache
    )
    prepared = prepare_rows(loaded, head, config.data, labels, config.cv)
    prepared.notes[:0] = loaded.notes
    return prepared
