"""The lab book: a row for each run and sweep of a folder, filtered and sorted."""

from __future__ import annotations

import operator
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ftr.config.resolve import flat
from ftr.errors import RequestError, did_you_mean
from ftr.paths import expanded, shown_path
from ftr.results.keeping import tags_of
from ftr.runs.directory import RunDirectory, all_runs, is_held, named
from ftr.runs.report import decimals, number, several_result
from ftr.study.directory import SweepDirectory, all_sweeps, open_directory
from ftr.tables import table, table_width

Row = dict[str, Any]
COLUMNS = ("id", "status", "task", "model", "dataset", "result", "tags", "created")
LISTED = ("id", "path", "status", "scores", "intervals", *COLUMNS[2:], "seconds", "error")
"""What `--json` answers of each run in a list."""
FIRST_LEFT_OUT = ("created", "model", "dataset", "tags", "task")
"""Columns that a narrow terminal does not get, in this order."""
DAMAGED = (
    RequestError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    OSError,
)
"""Errors of reading a damaged record, which must not hide the other runs."""
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*([\w.-]+)\s*(>=|<=|>|<|=)\s*(.+?)\s*")


def rows_of(folder: Path) -> list[Row]:
    """Return a row for each run and sweep in a folder, oldest first.

    A `stopped` one was killed; it can be resumed like an `interrupted` one. One whose record cannot
    be read is `unreadable`, with the cause under `error`.
    """
    rows = [row_of(entry) for entry in (*all_runs(folder), *all_sweeps(folder))]
    return sorted(rows, key=lambda row: str(row["id"]))


def row_of(directory: RunDirectory) -> Row:
    """Return what the list has of one run or sweep, as plain data; `scores` and `intervals` are
    those of the held-out split, `settings` has the configuration by dotted keys.
    """
    path = directory.path
    row: Row = {**dict.fromkeys(COLUMNS, "-"), "id": path.name, "path": str(path)}
    row |= {"tags": [], "scores": {}, "intervals": {}, "seconds": None, "settings": {}}
    try:
        row["tags"] = tags_of(path)
        record = directory.read()
        config = record["config"]
        found = {
            **row,
            "status": status_of(directory, record),
            "task": config["task"] or config["head"]["name"],
            "model": config["model"]["name"],
            "dataset": config["dataset"]["name"],
            "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(record["created"])),
            "seconds": record.get("seconds"),
            "settings": flat(config),
            "mode": [record.get("primary"), record.get("mode")],
            **(_sweep_result if isinstance(directory, SweepDirectory) else _run_result)(record),
        }
        if not all(isinstance(found[key], str) for key in COLUMNS if key != "tags"):
            raise TypeError("a name is not a string")
    except DAMAGED as error:
        return {**row, "status": "unreadable", "error": str(error)}
    return found


def about(given: str | Path) -> Row:
    """Return `id`, `path`, `status` and `scores` (those of the held-out split) of a run or sweep,
    the shape that every command's `--json` has; a model without its run has no status and scores.
    """
    found = named(given)
    if found is None:
        path = expanded(given, "run")
        return {"id": path.name, "path": shown_path(path), "status": None, "scores": {}}
    row = row_of(open_directory(found))
    return {
        "id": row["id"],
        "path": shown_path(found),
        "status": row["status"],
        "scores": row["scores"],
    }


def status_of(directory: RunDirectory, record: Mapping[str, Any]) -> str:
    """Return the status of a run or sweep; `stopped` where its process died."""
    stopped = record["status"] == "running" and not is_held(directory.path)
    return "stopped" if stopped else str(record["status"])


def _sweep_result(record: Mapping[str, Any]) -> Row:
    """Return the best validation score, of a sweep and of a trial."""
    value, primary = (record.get("best") or {}).get("value"), record["primary"]
    if value is None:
        return {}
    result = f"best validation {primary} {number(value, decimals([value]))}"
    return {"result": result, "scores": {primary: value}}


def _run_result(record: Mapping[str, Any]) -> Row:
    primary, heldout = record.get("primary", ""), record.get("heldout")
    scores = record.get("scores", {}).get(heldout, {})
    intervals = (record.get("intervals") or {}).get(heldout, {})
    if "several" in record and "summary" in record:
        result = several_result(record)
    elif scores:
        result = f"{heldout} {primary} {number(scores.get(primary), decimals(scores.values()))}"
        result += _interval(intervals.get(primary), scores)
    else:
        return _sweep_result(record) if "trial" in record else {}
    return {"result": result, "scores": scores, "intervals": intervals}


def _interval(interval: Mapping[str, float] | None, scores: Mapping[str, Any]) -> str:
    if not interval:
        return ""
    digits = decimals(scores.values())
    return f" ({number(interval, digits)})"


def matching(
    rows: Sequence[Row],
    names: Mapping[str, str | None],
    conditions: Iterable[str] = (),
    tag: str | None = None,
) -> list[Row]:
    """Return the rows whose task, dataset, model and status have the given names, that have a tag,
    and for which all conditions (`accuracy>0.8`, `epochs=3`) hold.

    A name may be a pattern (`*reviews*`); of a path the last part is enough. Raises `RequestError`
    for a condition that cannot be read, or about a key that no row has.
    """
    found = [
        row
        for row in rows
        if all(_is_called(row[key], name) for key, name in names.items() if name is not None)
        and (tag is None or tag in row["tags"])
    ]
    for condition in conditions:
        parts = _CONDITION.fullmatch(condition)
        if parts is None:
            raise RequestError(
                f"`--where {condition}` cannot be read: give a score or a setting, one of "
                f"{', '.join(COMPARISONS)}, and a value, such as `accuracy>0.8`, in quotes."
            )
        key, sign, text = parts.groups()
        _check_key(key, rows, "--where")
        found = [row for row in found if _holds(_value(row, key), sign, text)]
    return found


def _is_called(value: str, name: str) -> bool:
    folded, last = name.casefold(), value.rstrip("/").rpartition("/")[2]
    return any(fnmatchcase(one.casefold(), folded) for one in (value, last))


def _holds(value: Any, sign: str, text: str) -> bool:
    try:
        return COMPARISONS[sign](float(value), float(text))
    except (TypeError, ValueError):
        return sign == "=" and str(value).casefold() == text.casefold()


def _value(row: Row, key: str) -> Any:
    """Return a score, a setting or a column of a row; None: it has no such."""
    for values in (row["scores"], row["settings"], row):
        if key in values:
            return values[key]
    return None


def _check_key(key: str, rows: Sequence[Row], option: str) -> None:
    known = {name for row in rows for name in (*row["scores"], *row["settings"])}
    known |= {*COLUMNS, "seconds"}
    if key not in known and any(row["status"] != "unreadable" for row in rows):
        scores = sorted(
            name
            for name in {name for row in rows for name in row["scores"]}
            if any(isinstance(row["scores"].get(name), int | float) for row in rows)
        )
        raise RequestError(
            f"`{option} {key}`: no run has this score or setting.{did_you_mean(key, known)} "
            f"Scores are {', '.join(f'`{name}`' for name in scores) or 'none'}."
        )


def ordered(rows: Sequence[Row], key: str, *, reverse: bool = False) -> list[Row]:
    """Return rows sorted by a score, the best first, or by a setting or a column, ascending; those
    without a number or name come last.

    A score is better the higher it is, unless it is the main one of a run and that is minimized.
    Raises `RequestError` for a key that no row has.
    """
    _check_key(key, rows, "--sort")
    score = any(key in row["scores"] for row in rows)
    down = score and [key, "min"] not in [row.get("mode") for row in rows]

    def usable(row: Row) -> bool:
        value = _value(row, key)
        return isinstance(value, int | float) or (isinstance(value, str) and not score)

    known = [row for row in rows if usable(row)]
    known.sort(key=lambda row: _rank(_value(row, key)), reverse=down != reverse)
    return known + [row for row in rows if not usable(row)]


def _rank(value: Any) -> tuple[bool, float, str]:
    numeric = isinstance(value, int | float)
    return not numeric, float(value) if numeric else 0.0, "" if numeric else str(value)


def shown(rows: Sequence[Row], scores: Iterable[str] = (), width: int | None = None) -> list[str]:
    """Return the table of a list, with a column for each of `scores`, in lines of at most `width`
    characters.

    A narrow table leaves columns out.
    """
    asked = list(dict.fromkeys(scores))
    columns = [*COLUMNS[:6], *asked, *COLUMNS[6:]]
    order = (*FIRST_LEFT_OUT, *(["result"] if asked else []))
    while True:
        header = ["trained" if column == "created" else column for column in columns]
        cells = [header, *([_cell(row, column) for column in columns] for row in rows)]
        left = next((column for column in order if column in columns), None)
        if width is None or left is None or table_width(cells) <= width:
            return table(cells, width=width, cut=True)
        columns.remove(left)


def _cell(row: Row, column: str) -> str:
    if column == "tags":
        return ", ".join(row["tags"])
    if column in ("model", "dataset"):
        return str(row[column]).rstrip("/").rpartition("/")[2] or "-"
    if column in COLUMNS:
        return str(row[column])
    value = _value(row, column)
    if not isinstance(value, int | float):
        return "-"
    return number(value, decimals(row["scores"].values())) + _interval(
        row["intervals"].get(column), row["scores"]
    )
