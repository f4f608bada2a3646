"""`ftr predict`: answers or labels for the rows of a file or of stdin, as JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.cli.answer import Answer
from ftr.errors import RequestError

if TYPE_CHECKING:
    from ftr.config.overrides import Setting
    from ftr.data.rows import Unlabelled
    from ftr.runs.load import Predictor


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the run, the input, and options of the file as settings."""
    parser.add_argument("run", help="a run directory, its name under runs/, or a model directory written by ftr")
    parser.add_argument("input", nargs="?", default="-", help="a file of any kind `ftr run` reads; - or nothing: stdin")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="how to read the file, such as dataset.text=review")
    parser.add_argument(
        "--format", choices=("jsonl", "squad"), default="jsonl", help="squad: one object {id: answer}, as the official script reads"
    )
    parser.add_argument("--output", metavar="FILE", help="write there instead of stdout")


def execute(args: argparse.Namespace) -> Answer:
    """Predict every row; a row that cannot be used gives a line with its `error`, so that no line is missing."""
    from ftr.config.components import checked_options
    from ftr.data.cleaner import clean_unlabelled
    from ftr.data.options import FileOptions, file_options
    from ftr.data.unknown import unknown_note
    from ftr.data.unlabelled import read_unlabelled
    from ftr.runs.load import load
    from ftr.train.quiet import quiet_libraries

    quiet_libraries()
    settings = list(args.settings)
    if "=" in args.input and not Path(args.input).exists():
        settings, args.input = [args.input, *settings], "-"
    given = reading_options(settings)
    predictor = load(_model(args.run))
    schema = predictor.head.schema
    values = {key.removeprefix("dataset."): setting.value for key, setting in given.items()}
    options = checked_options("dataset", args.input, file_options(schema), values, given)
    rows = clean_unlabelled(read_unlabelled(args.input, schema, FileOptions.model_validate(options)), schema, predictor.cleaner)
    for note in rows.notes:
        print(note, file=sys.stderr)
    if rows.rejected:
        print(
            f"{len(rows.rejected)} of {len(rows.rejected) + len(rows.rows)} rows cannot be used; each has an `error` line", file=sys.stderr
        )
    answer = _squad(predictor, rows, args.output) if args.format == "squad" else _lines(predictor, rows, args)
    unknown = unknown_note("input", predictor.tokens)
    if unknown is not None:
        print(unknown, file=sys.stderr)
    return answer


def _lines(predictor: Predictor, rows: Unlabelled, args: argparse.Namespace) -> Answer:
    if args.json:
        predictions = list(_records(predictor, rows))
        return Answer(predictions, "")
    if args.output:
        atomic.write_lines(Path(args.output), _records(predictor, rows))
        return Answer(None, f"{len(rows.rows)} predictions in {args.output}")
    for record in _records(predictor, rows):
        print(json.dumps(record, ensure_ascii=False))
    return Answer(None, "")


def _squad(predictor: Predictor, rows: Unlabelled, output: str | None) -> Answer:
    answers: dict[str, Any] = {}
    for prediction in predictor.stream(rows.rows):
        if "answer" not in prediction:
            raise RequestError(
                f"`--format squad` is for question answering; head `{predictor.card.head}` predicts {', '.join(prediction)}."
            )
        answers[str(prediction["id"])] = prediction["answer"]
    if output:
        atomic.write_text(Path(output), json.dumps(answers, ensure_ascii=False) + "\n")
        return Answer(answers, f"{len(answers)} answers in {output}")
    return Answer(answers, json.dumps(answers, ensure_ascii=False))


def _records(predictor: Predictor, rows: Unlabelled) -> Iterator[dict[str, Any]]:
    yield from predictor.stream(rows.rows)
    for item in rows.rejected:
        yield {"id": item.row.get("id"), "error": item.cause, "place": item.place}


def _model(given: str) -> Path:
    from ftr.errors import ModelError
    from ftr.runs.directory import RunDirectory
    from ftr.runs.load import model_folder

    try:
        return model_folder(given)
    except ModelError:
        if Path(given).exists():
            raise
        return model_folder(RunDirectory.open(given).path)


def reading_options(settings: list[str]) -> dict[str, Setting]:
    """Return the `dataset.*` settings of a command that reads a file. Raises `ConfigError` for any other key."""
    from ftr.config.overrides import parse_words
    from ftr.errors import ConfigError

    given = parse_words(settings)
    for key in given:
        if not key.startswith("dataset."):
            raise ConfigError(f"`{key}`: only `dataset.*` settings say how a file is read here, such as `dataset.text=review`.")
    return given
