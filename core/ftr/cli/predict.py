"""`ftr predict`: label or answer the rows of a file of any size, of a URL or of stdin."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ftr import atomic, terminal
from ftr.cli.main import Answer
from ftr.config.components import checked_options, file_options
from ftr.config.parse import Setting, parse_words
from ftr.config.schema import FileOptions
from ftr.data.encode import unknown_note
from ftr.data.stream import STDIN, Reader, Source
from ftr.errors import ConfigError, ModelError, RequestError
from ftr.model.hub import is_hub
from ftr.paths import expanded
from ftr.prediction.blocks import Options
from ftr.prediction.job import (
    Job,
    check_output,
    input_identity,
    is_device,
    model_identity,
    versions,
)
from ftr.prediction.outputs import FORMATS, Layout, format_of
from ftr.prediction.remote import is_url, open_url
from ftr.prediction.run import Prediction
from ftr.runs.directory import SWEEP, run_or_winner
from ftr.runs.predictor import Predictor, load, model_folder
from ftr.terminal import mask, quiet_libraries, show
from ftr.train.progress import ProgressLine


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the run, the input, the output, and options of the file as settings."""
    parser.add_argument(
        "run",
        help="a run directory, its name under runs/, a sweep, which means its best run, or a model "
        "directory written by ftr, or hub:owner/name",
    )
    parser.add_argument(
        "input",
        nargs="?",
        default=STDIN,
        help="a file of any format that `ftr run` reads, a URL such as s3://…, https://… or "
        "hf://datasets/… (default: -, stdin)",
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
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="K",
        help="only the K most probable labels: in tables as columns label_1, score_1, …",
    )
    parser.add_argument(
        "--columns",
        metavar="a,b",
        help="columns of the input to keep, `all` or `none` (default: all in a file, none on "
        "stdout)",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write to FILE, in the format that its ending names (.csv, .tsv, .jsonl, .parquet); "
        "-: stdout",
    )
    parser.add_argument(
        "--output-format",
        choices=sorted(set(FORMATS.values())),
        help="format of the output, where no ending names it",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with an output that was interrupted, behind its last whole block",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16", "auto"),
        default="fp32",
        help="number format (default: fp32, what plain transformers computes)",
    )
    parser.add_argument(
        "--backend",
        choices=("torch", "onnx"),
        default="torch",
        help="onnx: the model that `ftr export RUN onnx` wrote",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Predict every row; an unusable row gives a record with its `error`, so no row is missing."""
    quiet_libraries()
    settings = list(args.settings)
    if "=" in args.input and not is_url(args.input) and not Path(args.input).exists():
        settings, args.input = [args.input, *settings], STDIN
    given = reading_options(settings)
    _check(args)
    folder = model_of(args.run)
    source = open_url(args.input) if is_url(args.input) else Source.open(args.input)
    try:
        predictor = load(folder, precision=args.precision, backend=args.backend)
        return _predict(args, given, predictor, source)
    finally:
        source.close()


def _check(args: argparse.Namespace) -> None:
    """Raise `RequestError` for a request that is wrong, before the model is loaded."""
    if args.input == STDIN and sys.stdin is None:
        raise RequestError("there is no input: stdin is closed. Give a file, or rows on stdin.")
    if args.format == "squad":
        if args.abstain_below is not None:
            raise RequestError(
                '`--format squad` cannot tell an abstained answer from "no answer": leave '
                "`--abstain-below` or the format out."
            )
        for option in ("columns", "top_k", "output_format", "resume"):
            if getattr(args, option):
                flag = f"--{option.replace('_', '-')}"
                raise RequestError(f"`--format squad` has answers alone: leave `{flag}` out.")
    if args.output in (None, STDIN):
        if args.resume or args.overwrite:
            raise RequestError("`--resume` and `--overwrite` need a file: give `--output FILE`.")
        if args.output_format == "parquet":
            raise RequestError("Parquet needs a file: give `--output FILE.parquet`.")
        return
    output = expanded(args.output, "file")
    if not is_device(output):
        if args.format != "squad":
            format_of(output, args.output_format)
        check_output(output, overwrite=args.overwrite, resume=args.resume)
    elif args.output_format == "parquet":
        raise RequestError(f"`{output}` is no regular file: Parquet needs one.")


def _predict(
    args: argparse.Namespace, given: dict[str, Setting], predictor: Predictor, source: Source
) -> Answer:
    predictor.check_abstain(args.abstain_below)
    if args.abstain_below is not None and not predictor.calibrated:
        fits = hasattr(getattr(predictor.head, "options", None), "calibrate")
        hint = ": train with `head.calibrate=temperature` to fit them" if fits else ""
        show(f"confidences are those of the model, not calibrated{hint}")
    schema = predictor.head.schema
    values = {key.removeprefix("dataset."): setting.value for key, setting in given.items()}
    options = checked_options("dataset", args.input, file_options(schema), values, given)
    work = Prediction(
        reader=Reader.of(source, schema, FileOptions.model_validate(options)),
        predictor=predictor,
        options=Options(columns=_columns(args), top_k=args.top_k, abstain_below=args.abstain_below),
        progress=ProgressLine(enabled=args.output not in (None, STDIN) or not sys.stdout.isatty()),
    )
    answer = _written(args, work, values)
    if work.errors:
        show(
            f"{work.errors} of {work.rows} rows are unusable; each has an `error` "
            f"{'line' if args.output is None else 'in the output'}"
        )
    if args.abstain_below is not None:
        show(
            f"abstained from {work.abstained} of {work.rows - work.errors} rows, with a confidence "
            f"below {args.abstain_below:g}"
        )
    unknown = unknown_note("input", predictor.tokens)
    if unknown is not None:
        show(unknown)
    # Without a single usable row the request was wrong.
    code = 0 if work.rows > work.errors else RequestError.exit_code
    return Answer(answer.data, answer.text, code)


def _columns(args: argparse.Namespace) -> tuple[str, ...] | None:
    """Return the columns of the input that are kept; None: all."""
    if args.columns is None:
        return () if args.output is None else None
    if args.columns in ("all", "none"):
        return () if args.columns == "none" else None
    return tuple(name.strip() for name in args.columns.split(",") if name.strip())


def _written(args: argparse.Namespace, work: Prediction, values: dict[str, Any]) -> Answer:
    """Write all predictions to where they belong."""
    if args.format == "squad":
        return _squad(args, work)
    output = None if args.output in (None, STDIN) else expanded(args.output, "file")
    if output is None and args.json:
        return Answer([record for records in work.records() for record in records], "")
    if output is None and args.output_format in (None, "jsonl"):
        for records in work.records():
            for record in records:
                terminal.answer(json.dumps(record, ensure_ascii=False, default=str))
            sys.stdout.flush()
        return Answer(None, "")
    if output is None:
        work.to_stream(args.output_format, _print)
        return Answer(None, "")
    if is_device(output):
        with atomic.writing(output), output.open("wb") as stream:
            work.to_stream(args.output_format or FORMATS.get(output.suffix, "jsonl"), stream.write)
        return Answer(_counts(args, work), "")
    return _to_file(args, work, output, values)


def _print(content: bytes) -> None:
    sys.stdout.write(content.decode())
    sys.stdout.flush()


def _to_file(
    args: argparse.Namespace, work: Prediction, output: Path, values: dict[str, Any]
) -> Answer:
    form = format_of(output, args.output_format)
    job = Job(output, form, _identity(args, work, form, values), Layout(args.top_k))
    with job.opened(resume=args.resume):
        if job.parts:
            show(f"resumed: {sum(part.rows for part in job.parts):,} rows are there already")
        try:
            notes = work.to_file(job)
        except KeyboardInterrupt:
            work.progress.clear()
            show(f"interrupted: go on with `--resume`. `{job.folder}` holds {work.rows:,} rows")
            raise
    for note in notes:
        show(note)
    return Answer(_counts(args, work), f"{work.rows - work.errors} predictions in {args.output}")


def _counts(args: argparse.Namespace, work: Prediction) -> dict[str, Any]:
    data = {
        "output": args.output,
        "predictions": work.rows - work.errors,
        "errors": work.errors,
    }
    return data if args.abstain_below is None else {**data, "abstained": work.abstained}


def _identity(
    args: argparse.Namespace, work: Prediction, form: str, values: dict[str, Any]
) -> dict[str, Any]:
    """Return what predictions depend on: `--resume` compares it."""
    return {
        "version": versions(),
        "model": model_identity(work.predictor.folder),
        "input": input_identity(work.reader.source, mask(args.input)),
        "options": {
            **{f"dataset.{name}": str(value) for name, value in values.items()},
            "--columns": args.columns,
            "--top-k": args.top_k,
            "--abstain-below": args.abstain_below,
            "--precision": args.precision,
            "--backend": args.backend,
            "format": form,
        },
    }


def _squad(args: argparse.Namespace, work: Prediction) -> Answer:
    answers = work.squad()
    text = json.dumps(answers, ensure_ascii=False)
    if args.output in (None, STDIN):
        return Answer(answers, text)
    is_file = atomic.write_output(expanded(args.output, "file"), text + "\n")
    counted = f"{len(answers)} answers in {args.output}"
    return Answer(_counts(args, work), counted if is_file else "")


def model_of(given: str) -> Path:
    """Return the model directory of a run, of the best run of a sweep, or the directory itself.

    Raises `RequestError`.
    """
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
