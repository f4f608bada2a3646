"""`ftr.compare`: the scores of several models on the same rows, and which rows changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ftr.config.resolve import flat, recorded_config
from ftr.errors import ConfigError, RequestError, did_you_mean
from ftr.registry.protocols import Head, Outcome, Prediction, Row, provides
from ftr.registry.registry import Registry
from ftr.results.paired import Difference, called_differences, differences, holm
from ftr.runs.directory import run_or_winner
from ftr.runs.heldout import HeldOut, best_member, held_out
from ftr.train.intervals import SECONDS, Integers, Units, numbers
from ftr.train.intervals import Path as ScorePath

IGNORED = ("output", "name", "tags", "baselines", "tracker", "compute.", "data.cache")
"""Settings that do not change a model."""
LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model: what was given, its predictions in the order of the rows, its settings, and the
    standard deviation of its scores between seeds where it is one of several.
    """

    given: str
    path: str
    predictions: Sequence[Prediction]
    settings: Mapping[str, Any] | None = None
    spread: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """The first model against another: differences by score, and what became of the rows.

    `p` of a difference is adjusted by Holm's method for the number of models it is compared with.
    `rows` counts those that `both`, only the `first`, only the `second` or `neither` has right, and
    on how many the error of one is `lower`. `changed` are the rows that one alone has right, those
    whose errors differ most first.
    """

    second: Side
    differences: Mapping[str, Difference]
    adjusted: Mapping[str, float | None]
    rows: Mapping[str, int] | None
    changed: Sequence[Mapping[str, Any]]
    settings: Mapping[str, tuple[Any, Any]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The first of several models against each of the others, on the same rows of a split."""

    split: str
    rows: int
    units: Units
    primary: str
    modes: Mapping[str, str]
    first: Side
    against: Sequence[Against]
    notes: Sequence[str]

    def worse(self, scores: Sequence[str], margin: float | None = None) -> list[str]:
        """Return why the first model is worse by some of the `scores`, a line for each.

        Without `margin` it is where the difference is significant: p below 0.05, adjusted by Holm's
        method for the number of scores and models. With `margin` it is where the interval of the
        difference reaches further than that to the worse side, so that it may be worse by more.
        Raises `ConfigError` for a score that is none.
        """
        known = self.against[0].differences
        for score in scores:
            if score not in known:
                raise ConfigError(
                    f"`--fail-if-worse {score}` is no score of these runs."
                    f"{did_you_mean(score, known)} Choose from: {', '.join(known)}."
                )
        pairs = [(score, one) for score in scores for one in self.against]
        adjusted = holm([one.differences[score].p for score, one in pairs])
        return [
            f"{score}: {reason} than {one.second.given}"
            for (score, one), p in zip(pairs, adjusted, strict=True)
            if (reason := self._worse(score, one.differences[score], p, margin))
        ]

    def _worse(
        self, score: str, found: Difference, p: float | None, margin: float | None
    ) -> str | None:
        sign = 1 if self.modes.get(score, "max") == "max" else -1
        if not np.isfinite(found.value):
            return f"not comparable ({found.first:g} and {found.second:g})"
        if margin is None:
            if p is None:
                return f"not tested, and {found.value:+.4g}" if sign * found.value < 0 else None
            worse = sign * found.value < 0 and p < LEVEL
            return f"{abs(found.value):.4g} worse (p = {p:.2g})" if worse else None
        ends = found.interval
        if ends is None and found.value == 0 and found.p == 1:
            return None  # the same in every resample
        if ends is None:
            return f"{found.value:+.4g}, without an interval that shows the margin"
        reach = -ends["low"] if sign > 0 else ends["high"]
        return f"up to {reach:.4g} worse (margin {margin:g})" if reach > margin else None

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain values."""

        def side(one: Side) -> dict[str, Any]:
            return {"given": one.given, "path": one.path, "spread": dict(one.spread)}

        return {
            "split": self.split,
            "rows": self.rows,
            "unit": self.units.name,
            "units": self.units.count,
            "primary": self.primary,
            "first": side(self.first),
            "against": [
                {
                    "second": side(one.second),
                    "differences": {
                        score: {
                            **asdict(found),
                            "difference": found.value,
                            "p_adjusted": one.adjusted[score],
                        }
                        for score, found in one.differences.items()
                    },
                    "rows": one.rows,
                    "changed": list(one.changed),
                    "settings": one.settings,
                }
                for one in self.against
            ],
            "notes": list(self.notes),
        }


def compare(
    first: str | Path,
    second: str | Path,
    *others: str | Path,
    split: str | None = None,
    registry: Registry | None = None,
) -> Comparison:
    """Compare the first run with each of the others on the rows that all of them were scored on.

    Each is a run, a sweep (its winner) or a file of predictions as `ftr predict` and `ftr evaluate
    --predictions` write them; one at least is a run, which has the rows and metrics. Raises
    `RequestError` where the rows are not the same, predictions are missing, or heads differ.
    """
    given = [str(one) for one in (first, second, *others)]
    runs = {
        place: _held_out(one, split, registry)
        for place, one in enumerate(given)
        if not Path(one).is_file()
    }
    if not runs:
        raise RequestError(
            "only files of predictions were given: name a run too, which has the rows, labels and "
            "metrics that they are scored by."
        )
    base = next(iter(runs.values()))[0]
    splits = {found.split for found, _ in runs.values()}
    if len(splits) > 1:
        raise RequestError(
            f"the runs have different splits ({', '.join(sorted(splits))}): name one that all have "
            "with `--split`."
        )
    sides = [
        _side(one, *runs[place], base) if place in runs else _from_file(one, base)
        for place, one in enumerate(given)
    ]
    return _compared(base, sides)


def _held_out(
    given: str, split: str | None, registry: Registry | None
) -> tuple[HeldOut, Mapping[str, Any] | None]:
    """Return the rows and predictions of a run, and the record of the run of several whose best
    member it is, if it is one.
    """
    directory = run_or_winner(given)
    record = directory.read()
    found = held_out(directory.path, split, registry=registry)
    return found, None if best_member(directory, record) is None else record


def _side(given: str, found: HeldOut, several: Mapping[str, Any] | None, base: HeldOut) -> Side:
    known, own = base.record["config"]["head"]["name"], found.record["config"]["head"]["name"]
    if known != own:
        raise RequestError(
            f"`{given}` has the head `{own}`, `{base.run.path}` has `{known}`: their predictions "
            "cannot be scored alike."
        )
    config = recorded_config(
        dict(found.record), found.run.record, unused=("model", "compute", "trainer")
    )
    spread: dict[str, float] = {}
    note = ""
    if several is not None:
        summary = several["summary"].get(found.split, {})
        spread = {name: one["sd"] for name, one in summary.items() if one["sd"] is not None}
        note = (
            f"`{given}` trained {len(several['members'])} members: its best on validation, member "
            f"{several['best_member']}, is compared"
        )
    order = _matched(given, found, base)
    return Side(
        given=given,
        path=str(found.run.path),
        predictions=_in_labels([found.predictions[place] for place in order], given, base.labels),
        settings=flat(config),
        spread=spread,
        note=note,
    )


def _matched(given: str, found: HeldOut, base: HeldOut) -> list[int]:
    """Return the place in `found` of each row of `base`, by id, texts and target.

    Rows that are alike in all are taken in their order. Raises `RequestError` with the counts.
    """
    cleaned = any(
        base.record["config"]["data"].get(key) != found.record["config"]["data"].get(key)
        for key in ("clean", "stop_words")
    )
    keys = [_keys(one, texts=not cleaned) for one in (base, found)]
    places = {key: place for place, key in enumerate(keys[1])}
    common = len(places.keys() & set(keys[0]))
    if not common == len(keys[0]) == len(keys[1]):
        ids = [Counter(str(row["id"]) for row in one.rows) for one in (base, found)]
        same_id = (ids[0] & ids[1]).total()
        raise RequestError(
            f"`{given}` and `{base.run.path}` were not scored on the same {base.split} rows: they "
            f"have {len(keys[1])} and {len(keys[0])}, of which {same_id} have the same id and "
            f"{common} also the same content. Score both on one file with `ftr evaluate RUN "
            "dataset=FILE --predictions OUT`, or train on the same data."
        )
    return [places[key] for key in keys[0]]


def _keys(found: HeldOut, *, texts: bool) -> list[tuple[Any, ...]]:
    columns = [column for column in found.head.schema.columns if texts or column.target]
    classes = found.head.schema.classes
    times: Counter[Any] = Counter()
    keys = []
    for row in found.rows:
        cells = [
            _named(row.get(column.name), found.labels)
            if classes is not None and column.name == classes.name
            else row.get(column.name)
            for column in columns
        ]
        key = (str(row["id"]), json.dumps(cells, sort_keys=True, default=str))
        times[key] += 1
        keys.append((*key, times[key]))
    return keys


def _named(cell: Any, labels: Sequence[str]) -> Any:
    if isinstance(cell, list):
        return [_named(one, labels) for one in cell]
    return labels[cell] if isinstance(cell, int) and 0 <= cell < len(labels) else cell


def _from_file(given: str, base: HeldOut) -> Side:
    """Return predictions from a file of JSON lines, by the ids of the rows.

    Raises `RequestError` naming what is missing.
    """
    try:
        lines = Path(given).read_text(encoding="utf-8").splitlines()
        found: list[Prediction] = [json.loads(line) for line in lines if line.strip()]
        ids = [str(one["id"]) for one in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if (ending := Path(given).suffix.lower()) in (".csv", ".tsv", ".parquet"):
            raise RequestError(
                f"`{given}`: predictions are compared as JSON lines, not as `{ending}`. "
                "`ftr evaluate RUN --predictions FILE.jsonl` writes them."
            ) from error
        raise RequestError(
            f"`{given}` is not a file of predictions, one JSON object with an `id` per line: "
            f"{type(error).__name__}: {error}. `ftr evaluate RUN --predictions {given}` writes one."
        ) from error
    wanted = [str(row["id"]) for row in base.rows]
    missing = (Counter(wanted) - Counter(ids)).total()
    more = (Counter(ids) - Counter(wanted)).total()
    errors = sum("error" in one for one in found)
    if missing or more or errors:
        raise RequestError(
            f"`{given}` has {len(found)} predictions for the {len(wanted)} {base.split} rows of "
            f"`{base.run.path}`: {missing} are missing, {more} have other ids, {errors} are errors."
        )
    waiting: dict[str, list[Prediction]] = {}
    for one, key in zip(found, ids, strict=True):
        waiting.setdefault(key, []).append(one)
    ordered = [waiting[key].pop(0) for key in wanted]
    return Side(given=given, path=given, predictions=_in_labels(ordered, given, base.labels))


def _in_labels(
    predictions: Sequence[Prediction], given: str, labels: Sequence[str]
) -> list[Prediction]:
    """Return predictions whose class ids are places in `labels`: another run may number its classes
    otherwise. Raises `RequestError` for a class that is not among them.
    """
    number = {label: place for place, label in enumerate(labels)}

    def renamed(one: Prediction) -> Prediction:
        new = dict(one)
        if "label_id" in one and "label" in one:
            new["label_id"] = number[one["label"]]
        if "label_ids" in one and "labels" in one:
            new["label_ids"] = [number[label] for label in one["labels"]]
        if isinstance(one.get("probabilities"), dict) and set(one["probabilities"]) == set(number):
            new["probabilities"] = {label: one["probabilities"][label] for label in labels}
        return new

    try:
        return [renamed(one) for one in predictions]
    except KeyError as error:
        raise RequestError(
            f"`{given}` predicts the class {error}, which is none of {', '.join(labels)}."
        ) from error


def _compared(base: HeldOut, sides: Sequence[Side]) -> Comparison:
    units = Units.of(base.rows, base.head.schema)
    notes = [side.note for side in sides if side.note]
    if units.note:
        notes.append(units.note)
    outcomes = [_outcomes(base.head, base, side) for side in sides]
    first, others = sides[0], sides[1:]
    found = []
    for place, second in enumerate(others, start=1):
        scores, more = _differences(base, first, second, units)
        notes += [note for note in more if note not in notes]
        found.append((second, scores, place))
    adjusted = [
        dict(zip(scores, ps, strict=True))
        for (_, scores, _), ps in zip(found, _adjusted([one for _, one, _ in found]), strict=True)
    ]
    against = [
        Against(
            second=second,
            differences=scores,
            adjusted=holm_p,
            **_changed(base.rows, outcomes[0], outcomes[place]),
            settings=_settings(first, second),
        )
        for (second, scores, place), holm_p in zip(found, adjusted, strict=True)
    ]
    return Comparison(
        split=base.split,
        rows=len(base.rows),
        units=units,
        primary=base.record.get("primary", base.scorer.primary),
        modes=_modes(base, first),
        first=first,
        against=against,
        notes=notes,
    )


def _adjusted(found: Sequence[Mapping[str, Difference]]) -> list[list[float | None]]:
    """Return the p-values of each comparison, those of one score adjusted over the comparisons."""
    by_score = {score: holm([one[score].p for one in found]) for score in found[0]}
    return [[by_score[score][place] for score in one] for place, one in enumerate(found)]


def _modes(base: HeldOut, side: Side) -> dict[str, str]:
    """Return which way each score is better."""
    inputs = base.head.score_inputs(base.rows, side.predictions, base.labels)
    return {
        score: base.scorer.modes[name]
        for name in base.scorer.modules
        for score in base.scorer.compute(name, inputs, base.labels)
    }


def _differences(
    base: HeldOut, first: Side, second: Side, units: Units
) -> tuple[dict[str, Difference], list[str]]:
    """Return the differences of all scores that are single numbers, and notes."""
    scorer, head, labels, rows = base.scorer, base.head, base.labels, base.rows
    models = [first.predictions, second.predictions]
    given = scorer.contributions_of_several(head, rows, models, labels)
    known = [numbers(scorer.score(head, rows, predictions, labels)) for predictions in models]
    notes = [
        f"`@additive` of metric `{name}` fails, so it is called: {problem}"
        for name, problem in given[0].problems.items()
    ]
    found, other_sums = dict[ScorePath, Difference](), list[str]()
    if given[0].metrics:
        found, other_sums = _as_scored(differences(given[0], given[1], units), known)
    if other_sums:
        notes.append(f"not compared: the sums over rows give another {', '.join(other_sums)}")
    each = [head.score_inputs(rows, predictions, labels) for predictions in models]
    for name in scorer.modules:
        if name in given[0].metrics or not scorer.gives_numbers(name, each[0], labels):
            continue
        inputs: list[Mapping[str, Sequence[Any]]] = [*each]
        ranked = [_ranked(one) for one in inputs]
        if all(
            _alike(scorer.compute(name, one, labels), scorer.compute(name, two, labels))
            for one, two in zip(inputs, ranked, strict=True)
        ):
            # Exchanged predictions must be of one scale where the score has none (Spearman).
            inputs = ranked

        def called(
            places: Integers,
            swap: NDArray[np.bool_] | None,
            name: str = name,
            inputs: Sequence[Mapping[str, Sequence[Any]]] = tuple(inputs),
        ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            picked, sides = places.tolist(), list[dict[str, list[Any]]]()
            turned = [False] * len(picked) if swap is None else swap.tolist()
            for side in (0, 1):
                sides.append(
                    {
                        key: [
                            inputs[side ^ turn][key][place]
                            for place, turn in zip(picked, turned, strict=True)
                        ]
                        for key in inputs[0]
                    }
                )
            one, other = (scorer.compute(name, each, labels) for each in sides)
            return one, other

        more, reached = called_differences(called, units)
        found |= {path: one for path, one in more.items() if path not in found}
        notes.append(f"metric `{name}`: {reached} in {SECONDS:g} s")
    return {path[0]: found[path] for path in known[0] if len(path) == 1 and path in found}, notes


def _as_scored(
    found: Mapping[ScorePath, Difference], known: Sequence[Mapping[ScorePath, float]]
) -> tuple[dict[ScorePath, Difference], list[str]]:
    """Return the differences of sums that give the scores which the metrics give, and the names of
    other scores. What no sum gives, such as the correlation of a constant, has no test.
    """
    agreeing, others = dict[ScorePath, Difference](), list[str]()
    for path, one in found.items():
        if any(path not in scores for scores in known):
            continue
        first, second = (scores[path] for scores in known)
        sums, scores = np.array([one.first, one.second]), np.array([first, second])
        if np.isfinite(sums).all() and not np.allclose(sums, scores, rtol=1e-6, atol=1e-9):
            others.append(f"`{'.'.join(path)}`")
        elif np.isfinite(sums).all():
            agreeing[path] = one
        else:
            agreeing[path] = Difference(first, second, None, None, "none")
    return agreeing, others


def _ranked(inputs: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    """Return inputs of a metric with the ranks of the predictions, where these are numbers."""
    predictions = inputs.get("predictions", ())
    if not all(isinstance(one, float) for one in predictions):
        return inputs
    return {**inputs, "predictions": rankdata(predictions).tolist()}


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    first, second = numbers(one), numbers(other)
    return first.keys() == second.keys() and all(
        np.isclose(first[path], second[path]) for path in first
    )


def _outcomes(head: Head, base: HeldOut, side: Side) -> list[Outcome] | None:
    if not provides(head, "outcomes"):
        return None
    return head.outcomes(base.rows, side.predictions, base.labels)


def _changed(
    rows: Sequence[Row], first: list[Outcome] | None, second: list[Outcome] | None
) -> dict[str, Any]:
    """Return the counts of rows by who is right, and the rows whose errors differ."""
    if first is None or second is None:
        return {"rows": None, "changed": ()}
    pairs = list(zip(rows, first, second, strict=True))
    kinds = Counter((one.right, other.right) for _, one, other in pairs)
    counts = {
        "both": kinds[True, True],
        "first": kinds[True, False],
        "second": kinds[False, True],
        "neither": kinds[False, False],
        "first_lower": sum(one.error < other.error for _, one, other in pairs),
        "second_lower": sum(other.error < one.error for _, one, other in pairs),
    }
    changed = [
        {
            "id": str(row["id"]),
            "expected": one.expected,
            "first": one.predicted,
            "second": other.predicted,
            "errors": [one.error, other.error],
        }
        for row, one, other in sorted(pairs, key=lambda pair: -abs(pair[1].error - pair[2].error))
        if one.error != other.error
    ]
    return {"rows": counts, "changed": changed}


def _settings(first: Side, second: Side) -> dict[str, tuple[Any, Any]] | None:
    """Return the settings that differ; None where one is a file of predictions."""
    if first.settings is None or second.settings is None:
        return None
    keys = dict.fromkeys([*first.settings, *second.settings])
    return {
        key: (first.settings.get(key), second.settings.get(key))
        for key in keys
        if first.settings.get(key) != second.settings.get(key) and not key.startswith(IGNORED)
    }
