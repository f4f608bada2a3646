"""`ftr predict`: label or answer the rows of a file of any size, of a URL or of stdin."""

from __future__ import annotations

import argparse
import glob
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic, terminal
from ftr.cli.main import Answer, add_model_options
from ftr.errors import RequestError, counted
from ftr.paths import STDIN, expanded
from ftr.terminal import quiet_libraries, show

if TYPE_CHECKING:
    from ftr.config.schema import ComputeConfig
    from ftr.data.stream import Source
    from ftr.prediction.request import Predicted, Request
    from ftr.prediction.run import Prediction

EXAMPLES = (
    "ftr predict RUN reviews.csv --output labels.csv",
    "echo 'a fine film' | ftr predict RUN",
)

_SETTING = re.compile(r"[^/=]*=")
"""How `key=value` begins; a path or URL has a slash before."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the run, the input, the output, and options of the file as settings."""
    _add_words(parser)
    _add_predictions(parser)
    _add_output(parser)
    _add_computation(parser)


def _add_words(parser: argparse.ArgumentParser) -> None:
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


def _add_predictions(parser: argparse.ArgumentParser) -> None:
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
        help="columns of the input to keep, `all` or `none` (default: all with --output, "
        "else none)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write to FILE, in the format that its ending names (.csv, .tsv, .jsonl, .parquet); "
        "-: stdout",
    )
    parser.add_argument(
        "--output-format",
        choices=("csv", "jsonl", "parquet", "tsv"),
        help="format of the output, where no ending names it",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume an interrupted output after its last complete block",
    )


def _add_computation(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that share the rows of any number of files, patterns and folders; "
        "--output is a folder then, with a Parquet file for each input. With compute.address=… on "
        "a Ray cluster (default there: one for each GPU, or for each node)",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Predict every row; an unusable row gives a record with its `error`, so no row is missing."""
    from ftr.prediction.request import Request, checkpoint, opened, reading_settings

    quiet_libraries()
    inputs, settings = _words([args.input, *args.settings])
    _check_run(args.run, inputs)
    request = Request(
        folder=checkpoint(args.run),
        settings=reading_settings(settings),
        columns=_columns(args),
        top_k=args.top_k,
        abstain_below=args.abstain_below,
        precision=args.precision,
        backend=args.backend,
    )
    compute = request.compute(args.workers)
    if compute is not None:
        return _by_workers(args, inputs, request, compute)
    if len(inputs) > 1:
        raise RequestError(
            f"{len(inputs)} inputs: give one, or `--workers N` for a folder of outputs."
        )
    args.input = inputs[0]
    _check(args)
    with opened(args.input) as source:
        return _predict(args, request, source)


def _check_run(run: str, inputs: list[str]) -> None:
    """Raise `RequestError` where the data stands alone, without a run before it."""
    from ftr.config.schema import DATA_SUFFIXES

    if inputs == [STDIN] and Path(run).suffix.lower() in DATA_SUFFIXES and not Path(run).is_dir():
        raise RequestError(
            f"`{run}` is a file of data, and the run is missing: `ftr predict RUN {run}`. "
            "`ftr runs` lists the runs."
        )


def _words(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the inputs among the words of the command, and its settings."""
    settings = [one for one in words if _SETTING.match(one) and not _names_files(one)]
    return [one for one in words if one not in settings] or [STDIN], settings


def _names_files(word: str) -> bool:
    """Whether a word is a file or a pattern of files: folders are often called `year=2026`."""
    return Path(word).exists() or bool(glob.glob(word, recursive=True))  # noqa: PTH207


def _by_workers(
    args: argparse.Namespace, inputs: list[str], request: Request, compute: ComputeConfig
) -> Answer:
    from ftr.prediction.cluster import predict_files

    if args.format == "squad" or args.output_format not in (None, "parquet"):
        raise RequestError("workers write Parquet: leave `--format` and `--output-format` out.")
    if args.output in (None, STDIN):
        raise RequestError("workers write a folder of Parquet files: give `--output FOLDER`.")
    if STDIN in inputs:
        raise RequestError("workers read files: name some, a pattern or a folder.")
    found = predict_files(
        request, inputs, args.output, compute, overwrite=args.overwrite, resume=args.resume
    )
    predicted, files = counted(found.predictions, "prediction"), counted(len(found.files), "file")
    text = f"{predicted} in {files} in {args.output}"
    if found.errors:
        rows = counted(found.predictions + found.errors, "row")
        show(f"{found.errors} of {rows} are unusable; each has an `error` in the output")
    data = _answered(args, request, found)
    return Answer(data, text, 0 if found.predictions else RequestError.exit_code)


def _check(args: argparse.Namespace) -> None:
    """Raise `RequestError` for a request that is wrong, before the model is loaded."""
    from ftr.prediction.job import check_output, is_device
    from ftr.prediction.outputs import format_of

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
        check_output(output, overwrite=args.overwrite, resume=args.resume)
        if args.format != "squad":
            format_of(output, args.output_format)
    elif args.format != "squad" and _device_format(args, output) == "parquet":
        raise RequestError(
            f"`{output}` is no regular file, and Parquet needs one: give a file, or "
            "`--output-format` csv, tsv or jsonl."
        )


def _device_format(args: argparse.Namespace, output: Path) -> str:
    """Return the format of a pipe or a device: JSON lines without a known ending."""
    from ftr.prediction.outputs import FORMATS

    form: str = args.output_format or FORMATS.get(output.suffix.lower(), "jsonl")
    return form


def _predict(args: argparse.Namespace, request: Request, source: Source) -> Answer:
    from ftr.data.encode import unknown_note
    from ftr.progress import ProgressLine

    progress = ProgressLine(enabled=args.output not in (None, STDIN) or not sys.stdout.isatty())
    with progress.stage("model"):
        predictor = request.load()
    request.check(predictor)
    work = request.work(args.input, source, predictor, progress)
    if args.input == STDIN and sys.stdin.isatty():
        show("one text a line from the keyboard; Ctrl-D ends")
    with progress.stage("prediction"):
        answer = _written(args, request, work)
    if work.errors:
        show(
            f"{work.errors} of {counted(work.rows, 'row')} are unusable; each has an `error` "
            f"{'line' if args.output is None else 'in the output'}"
        )
    if args.abstain_below is not None:
        show(
            f"abstained from {work.abstained} of {counted(work.rows - work.errors, 'row')}, with a "
            f"confidence below {args.abstain_below:g}"
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


def _written(args: argparse.Namespace, request: Request, work: Prediction) -> Answer:
    """Write all predictions to where they belong."""
    from ftr.prediction.files import to_file
    from ftr.prediction.job import is_device
    from ftr.prediction.outputs import format_of

    if args.format == "squad":
        return _squad(args, request, work)
    output = None if args.output in (None, STDIN) else expanded(args.output, "file")
    if output is None and args.json:
        return Answer([record for records in work.records() for record in records], "")
    if output is None and args.output_format in (None, "jsonl"):
        for records in work.records():
            for record in records:
                terminal.answer(atomic.to_json(record))
            sys.stdout.flush()
        return Answer(None, "")
    if output is None:
        work.to_stream(args.output_format, _print)
        return Answer(None, "")
    if is_device(output):
        with atomic.writing(output), output.open("wb") as stream:
            work.to_stream(_device_format(args, output), stream.write)
        return Answer(_counts(args, request, work), "")
    form = format_of(output, args.output_format)
    to_file(request, work, args.input, output, form, resume=args.resume)
    return Answer(
        _counts(args, request, work),
        f"{counted(work.rows - work.errors, 'prediction')} in {args.output}",
    )


def _print(content: bytes) -> None:
    sys.stdout.write(content.decode())
    sys.stdout.flush()


def _counts(args: argparse.Namespace, request: Request, work: Prediction) -> dict[str, Any]:
    from ftr.prediction.request import Predicted

    found = _answered(args, request, Predicted.of([], [work]))
    found.pop("files")
    return found


def _answered(args: argparse.Namespace, request: Request, found: Predicted) -> dict[str, Any]:
    """Return what `--json` answers of an output: the run, and the counts."""
    from ftr.results.listing import about
    from ftr.runs.directory import RECORD

    run = request.folder.parent
    data = {
        **about(run if (run / RECORD).is_file() else request.folder),
        "output": args.output,
        **asdict(found),
        "files": list(map(str, found.files)),
    }
    if request.abstain_below is None:
        data.pop("abstained")
    return data


def _squad(args: argparse.Namespace, request: Request, work: Prediction) -> Answer:
    answers = work.squad()
    plain = json.dumps(answers, ensure_ascii=False)
    if args.output in (None, STDIN):
        return Answer(answers, plain)
    is_file = atomic.write_output(expanded(args.output, "file"), plain + "\n")
    text = f"{counted(len(answers), 'answer')} in {args.output}"
    return Answer(_counts(args, request, work), text if is_file else "")
