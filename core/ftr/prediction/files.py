"""`ftr.predict`: the rows of a file to a file, or those of many files to a folder by workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftr.errors import RequestError, counted
from ftr.paths import expanded
from ftr.prediction.job import Job, check_output, input_identity, is_device
from ftr.prediction.outputs import Layout, format_of
from ftr.prediction.request import Predicted, Request, checkpoint, opened, reading_settings
from ftr.prediction.run import Prediction
from ftr.progress import ProgressLine
from ftr.registry.registry import Registry
from ftr.runs.run import Settings, merged
from ftr.terminal import mask, show
from ftr.train.progress import current_interrupt


def predict(
    run: str | Path,
    input: str | Path | Sequence[str | Path],
    output: str | Path,
    settings: Settings = None,
    *,
    columns: Sequence[str] | None = None,
    top_k: int | None = None,
    abstain_below: float | None = None,
    output_format: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    workers: int | None = None,
    precision: str = "fp32",
    backend: str = "torch",
    registry: Registry | None = None,
    **keys: object,
) -> Predicted:
    """Predict the rows of a file or URL of any size into a file, as `ftr predict` does.

    `settings` say how to read it (`dataset.text`). `columns` of the input are kept, None: all. The
    format is that of the ending of `output`, or `output_format`. With `workers` or a cluster,
    `input` may be several files, patterns and folders, and `output` is a folder with a Parquet file
    for each. Raises `FtrError`: `RequestError`, for example, where the output exists.

        ftr.predict("runs/ID", "reviews.csv", "answers.parquet", abstain_below=0.8)
        ftr.predict("runs/ID", "s3://team/reviews/*.parquet", "answers/", workers=4)
    """
    request = Request(
        folder=checkpoint(str(run)),
        settings=reading_settings(merged(settings, keys)),
        columns=columns if columns is None else tuple(columns),
        top_k=top_k,
        abstain_below=abstain_below,
        precision=precision,
        backend=backend,
    )
    words = [str(one) for one in ([input] if isinstance(input, str | Path) else input)]
    compute = request.compute(workers)
    if compute is None:
        target = _checked_output(words, output, overwrite=overwrite, resume=resume)
        form = format_of(target, output_format)
        return _one_file(request, words[0], target, form, resume=resume, registry=registry)
    from ftr.prediction.cluster import predict_files

    if output_format not in (None, "parquet"):
        raise RequestError("workers write Parquet: leave `output_format` out.")
    return predict_files(
        request, words, output, compute, overwrite=overwrite, resume=resume, registry=registry
    )


def _checked_output(
    words: Sequence[str], output: str | Path, *, overwrite: bool, resume: bool
) -> Path:
    if len(words) != 1:
        raise RequestError(
            f"{len(words)} inputs: give one, or `workers` (`--workers`) for a folder of outputs."
        )
    target = expanded(output, "file")
    if is_device(target):
        raise RequestError(
            f"`{target}` is no regular file: give one. `ftr predict --output` writes to pipes."
        )
    check_output(target, overwrite=overwrite, resume=resume)
    return target


def _one_file(
    request: Request,
    given: str,
    target: Path,
    form: str,
    *,
    resume: bool,
    registry: Registry | None,
) -> Predicted:
    with opened(given) as source:
        predictor = request.load(registry)
        request.check(predictor)
        work = request.work(given, source, predictor, ProgressLine())
        to_file(request, work, given, target, form, resume=resume, registry=registry)
        return Predicted.of([target], [work])


def to_file(
    request: Request,
    work: Prediction,
    given: str,
    output: Path,
    form: str,
    *,
    resume: bool,
    registry: Registry | None = None,
) -> None:
    """Write the predictions of an input into a file; `given` is the name of the input."""
    identity = {
        **request.identity(registry),
        "input": input_identity(work.reader.source, mask(given)),
        "output": {"format": form},
    }
    job = Job(output, form, identity, Layout(request.top_k))
    # Ctrl-C and SIGTERM both end it with a word on how to go on.
    with current_interrupt().listening(), job.opened(resume=resume):
        if job.parts:
            there = sum(part.rows for part in job.parts)
            show(f"resumed after {counted(there, 'row', ',')}")
        try:
            notes = work.to_file(job)
        except KeyboardInterrupt:
            work.progress.clear()
            held = counted(work.rows, "row", ",")
            show(f"interrupted: go on with `--resume`. `{job.folder}` holds {held}")
            raise
    for note in notes:
        show(note)
