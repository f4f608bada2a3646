"""`ftr predict`: answers or labels for the rows of a file or of stdin, as JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic, terminal
from ftr.cli.answer import Answer
from ftr.errors import RequestError
from ftr.terminal import show

if TYPE_CHECKING:
    from ftr.config.parse import Setting
    from ftr.data.rows import Unlabelled
    from ftr.runs.predictor import Predictor


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the run, the input, and options of the file as settings."""
    parser.add_argument(
        "run",
        help="a run directory, its name under runs/, a sweep (its winner), or a model directory "
        "written by ftr",
    )
    parser.add_argument(
        "input",
        nargs="?",
        default="-",
        help="a file of any kind `ftr run` reads; - or nothing: stdin",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="how to read the file, such as dataset.text=review",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "squad"),
        default="jsonl",
        help="squad: one object {id: answer}, as the official script reads",
    )
    parser.add_argument("--output", metavar="FILE", help="write there instead of stdout")


def execute(args: argparse.Namespace) -> Answer:
    """Predict every row; a row that cannot be used gives a line with its `error`, so that no line
    is missing.
    """
    from ftr.config.components import checked_options, file_options
    from ftr.config.schema import FileOptions
    from ftr.data.clean import clean_unlabelled
    from ftr.data.encode import unknown_note
    from ftr.data.read import read_unlabelled
    from ftr.runs.predictor import load
    from ftr.terminal import quiet_libraries

    quiet_libraries()
    settings = list(args.settings)
    if "=" in args.input and not Path(args.input).exists():
        settings, args.input = [args.input, *settings], "-"
    given = reading_options(settings)
    if args.input == "-" and sys.stdin is None:
        raise RequestError("there is no input: stdin is closed. Give a file, or rows on stdin.")
    predictor = load(_model(args.run))
    schema = predictor.head.schema
    values = {key.removeprefix("dataset."): setting.value for key, setting in given.items()}
    options = checked_options("dataset", args.input, file_options(schema), values, given)
    read = read_unlabelled(
        args.input, schema, FileOptions.model_validate(options), check=predictor.head.check
    )
    rows = clean_unlabelled(read, schema, predictor.cleaner)
    for note in rows.notes:
        show(note)
    if rows.rejected:
        show(
            f"{len(rows.rejected)} of {len(rows.rejected) + len(rows.rows)} rows cannot be used; "
            "each has an `error` line"
        )
    answer = (
        _squad(predictor, rows, args.output)
        if args.format == "squad"
        else _lines(predictor, rows, args)
    )
    unknown = unknown_note("input", predictor.tokens)
    if unknown is not None:
        show(unknown)
    # Where no row at all could be used, the request was wrong.
    return answer if rows.rows else replace(answer, exit_code=RequestError.exit_code)


def _lines(predictor: Predictor, rows: Unlabelled, args: argparse.Namespace) -> Answer:
    if args.output:
        is_file = atomic.write_output(
            Path(args.output), atomic.json_lines(_records(predictor, rows))
        )
        return Answer(
            _written(args.output, rows),
            f"{len(rows.rows)} predictions in {args.output}" if is_file else "",
        )
    if args.json:
        predictions = list(_records(predictor, rows))
        return Answer(predictions, "")
    for record in _records(predictor, rows):
        terminal.answer(json.dumps(record, ensure_ascii=False))
    return Answer(None, "")


def _squad(predictor: Predictor, rows: Unlabelled, output: str | None) -> Answer:
    answers: dict[str, Any] = {}
    for prediction in predictor.stream(rows.rows):
        if "answer" not in prediction:
            raise RequestError(
                f"`--format squad` is for question answering; head `{predictor.card.head}` "
                f"predicts {', '.join(prediction)}."
            )
        answers[str(prediction["id"])] = prediction["answer"]
    if output:
        is_file = atomic.write_output(Path(output), json.dumps(answers, ensure_ascii=False) + "\n")
        return Answer(
            _written(output, rows), f"{len(answers)} answers in {output}" if is_file else ""
        )
    return Answer(answers, json.dumps(answers, ensure_ascii=False))


def _written(output: str, rows: Unlabelled) -> dict[str, Any]:
    """Return what `--json` says of a file of predictions."""
    return {"output": output, "predictions": len(rows.rows), "errors": len(rows.rejected)}


def _records(predictor: Predictor, rows: Unlabelled) -> Iterator[dict[str, Any]]:
    from ftr.data.rows import Rejected, harmless

    for item in rows.in_order(predictor.stream(rows.rows)):
        if isinstance(item, Rejected):
            yield {"id": harmless(item.row.get("id")), "error": item.cause, "place": item.place}
        else:
            yield item


def _model(given: str) -> Path:
    from ftr.errors import ModelError
    from ftr.runs.directory import SWEEP, run_or_winner
    from ftr.runs.predictor import model_folder

    try:
        if given.strip():
            return model_folder(given)
    except ModelError:
        if Path(given).exists() and not (Path(given) / SWEEP).is_file():
            raise
    return model_folder(run_or_winner(given).path)


def reading_options(settings: list[str]) -> dict[str, Setting]:
    """Return the `dataset.*` settings of a command that reads a file.

    Raises `ConfigError` for any other key.
    """
    from ftr.config.parse import parse_words
    from ftr.errors import ConfigError

    given = parse_words(settings)
    for key in given:
        if not key.startswith("dataset."):
            raise ConfigError(
                f"`{key}`: only `dataset.*` settings say how a file is read here, such as "
                "`dataset.text=review`."
            )
    return given
