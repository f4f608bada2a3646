"""`ftr predict`: label or answer the rows of a file or of stdin, as JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftr import atomic, terminal
from ftr.cli.main import Answer
from ftr.config.components import checked_options, file_options
from ftr.config.parse import Setting, parse_words
from ftr.config.schema import FileOptions
from ftr.data.clean import clean_unlabelled
from ftr.data.encode import unknown_note
from ftr.data.read import read_unlabelled
from ftr.data.rows import Rejected, Unlabelled, harmless
from ftr.errors import ConfigError, ModelError, RequestError
from ftr.model.hub import is_hub
from ftr.runs.directory import SWEEP, run_or_winner
from ftr.runs.predictor import Predictor, load, model_folder
from ftr.terminal import quiet_libraries, show


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the run, the input, and options of the file as settings."""
    parser.add_argument(
        "run",
        help="a run directory, its name under runs/, a sweep, which means its best run, or a model "
        "directory written by ftr, or hub:owner/name",
    )
    parser.add_argument(
        "input",
        nargs="?",
        default="-",
        help="a file of any format that `ftr run` reads (default: -, stdin)",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="options for reading the file, for example dataset.text=review",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "squad"),
        default="jsonl",
        help="squad: one object {id: answer}, the format of the SQuAD script",
    )
    parser.add_argument(
        "--abstain-below",
        type=float,
        metavar="CONFIDENCE",
        help="abstain from rows with a lower confidence, 0 to 1: their predictions are null, and "
        "what they would be is `best_guess`. Train with head.calibrate=temperature for confidences "
        "that hold",
    )
    parser.add_argument("--output", metavar="FILE", help="write to FILE instead of stdout")


def execute(args: argparse.Namespace) -> Answer:
    """Predict every row; an unusable row gives a line with its `error`, so no line is missing."""
    quiet_libraries()
    settings = list(args.settings)
    if "=" in args.input and not Path(args.input).exists():
        settings, args.input = [args.input, *settings], "-"
    given = reading_options(settings)
    if args.input == "-" and sys.stdin is None:
        raise RequestError("there is no input: stdin is closed. Give a file, or rows on stdin.")
    if args.abstain_below is not None and args.format == "squad":
        raise RequestError(
            '`--format squad` cannot tell an abstained answer from "no answer": leave '
            "`--abstain-below` or the format out."
        )
    predictor = load(_model(args.run))
    predictor.check_abstain(args.abstain_below)
    if args.abstain_below is not None and not predictor.calibrated:
        fits = hasattr(getattr(predictor.head, "options", None), "calibrate")
        hint = ": train with `head.calibrate=temperature` to fit them" if fits else ""
        show(f"confidences are those of the model, not calibrated{hint}")
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
            f"{len(rows.rejected)} of {len(rows.rejected) + len(rows.rows)} rows are unusable; "
            "each has an `error` line"
        )
    counts: Counter[bool] = Counter()
    answer = _answer(predictor, rows, args, counts)
    if args.abstain_below is not None:
        show(
            f"abstained from {counts[True]} of {counts.total()} rows, with a confidence below "
            f"{args.abstain_below:g}"
        )
    unknown = unknown_note("input", predictor.tokens)
    if unknown is not None:
        show(unknown)
    # Without a single usable row the request was wrong.
    return answer if rows.rows else replace(answer, exit_code=RequestError.exit_code)


def _answer(
    predictor: Predictor, rows: Unlabelled, args: argparse.Namespace, counts: Counter[bool]
) -> Answer:
    below = args.abstain_below
    if args.format == "squad":
        answers = _squad(predictor, rows)
        text, what = json.dumps(answers, ensure_ascii=False), f"{len(answers)} answers"
        if not args.output:
            return Answer(answers, text)
        text += "\n"
    elif args.output:
        text = atomic.json_lines(_records(predictor, rows, below, counts))
        what = f"{len(rows.rows)} predictions"
    elif args.json:
        return Answer(list(_records(predictor, rows, below, counts)), "")
    else:
        for record in _records(predictor, rows, below, counts):
            terminal.answer(json.dumps(record, ensure_ascii=False))
        return Answer(None, "")
    is_file = atomic.write_output(Path(args.output), text)
    data = {"output": args.output, "predictions": len(rows.rows), "errors": len(rows.rejected)}
    if below is not None:
        data["abstained"] = counts[True]
    return Answer(data, f"{what} in {args.output}" if is_file else "")


def _squad(predictor: Predictor, rows: Unlabelled) -> dict[str, Any]:
    answers = {}
    for prediction in predictor.stream(rows.rows):
        if "answer" not in prediction:
            raise RequestError(
                f"`--format squad` is for question answering; head `{predictor.card.head}` "
                f"predicts {', '.join(prediction)}."
            )
        answers[str(prediction["id"])] = prediction["answer"]
    return answers


def _records(
    predictor: Predictor, rows: Unlabelled, below: float | None, counts: Counter[bool]
) -> Iterator[dict[str, Any]]:
    """Yield the lines in order; `counts` has for how many the model did and did not abstain."""
    for item in rows.in_order(predictor.stream(rows.rows, abstain_below=below)):
        if isinstance(item, Rejected):
            yield {"id": harmless(item.row.get("id")), "error": item.cause, "place": item.place}
        else:
            if below is not None:
                counts[item["abstained"]] += 1
            yield item


def _model(given: str) -> Path:
    try:
        if given.strip():
            return model_folder(given)
    except ModelError:
        if is_hub(given) or (Path(given).exists() and not (Path(given) / SWEEP).is_file()):
            raise
    return model_folder(run_or_winner(given).path)


def reading_options(settings: list[str]) -> dict[str, Setting]:
    """Return the `dataset.*` settings of a command that reads a file.

    Raises `ConfigError` for any other key.
    """
    given = parse_words(settings)
    for key in given:
        if not key.startswith("dataset."):
            raise ConfigError(
                f"`{key}`: `ftr predict` takes only `dataset.*` settings, which say how to read "
                "the file, such as `dataset.text=review`."
            )
    return given
