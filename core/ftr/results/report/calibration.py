"""The parts of a report on confidence: calibration, abstaining, and labels in doubt."""

from __future__ import annotations

import numpy as np

from ftr.errors import RequestError
from ftr.results.calibration import (
    BINS,
    area_under_risk_coverage,
    measure,
    reliability,
    risk_coverage,
)
from ftr.results.label_errors import suspicious_labels
from ftr.results.report import pictures
from ftr.results.report.blocks import (
    Beside,
    Block,
    Note,
    Pictures,
    Section,
    Table,
    one_line,
    readable,
)
from ftr.results.report.source import MissingError, Record, Source, first_of

LABELS = 30
"""Labels in doubt that are shown."""
TEXT = 160


def _confidences(source: Source) -> tuple[list[float], list[bool], list[float]]:
    """Return the confidence of each prediction, whether it is right, and its error.

    Raises `MissingError` where there are no confidences, or no two different ones.
    """
    known = [one for one in source.outcomes if one.confidence is not None]
    sure = [float(one.confidence) for one in known if one.confidence is not None]
    if len(known) < len(source.outcomes):
        raise MissingError("the head gives no probability that a prediction is right")
    if len(set(sure)) == 1:
        raise MissingError(
            f"all {len(sure)} predictions have the same confidence, {sure[0]:.4g}, so it tells "
            "none from another"
        )
    return sure, [one.right for one in known], [one.error for one in known]


def calibration(source: Source) -> Section:
    """Return how well confidences match how often predictions are right."""
    sure, right, _ = _confidences(source)
    bins = [
        (one.confidence, one.accuracy, one.count)
        for one in reliability(sure, right)
        if one.confidence is not None and one.accuracy is not None
    ]
    found = measure(source.outcomes, source.rows.predictions)
    if found is None:
        raise MissingError("there are no confidences")
    over = found.confidence - found.accuracy
    rows = [
        ("predictions", f"{found.n:,}"),
        ("mean confidence", f"{found.confidence:.4f}"),
        ("share that is right", f"{found.accuracy:.4f}"),
        ("confidence above what is right", f"{over:+.4f}"),
        ("expected calibration error (ECE)", f"{found.ece:.4f}"),
        ("Brier score", f"{found.brier:.4f}"),
        ("negative log likelihood", f"{found.nll:.4f}"),
    ]
    split = source.rows.split
    title = f"Reliability of the {split} rows: on the dashed line confidence is honest"
    blocks: list[Block] = [
        Beside(
            blocks=[
                Pictures(pictures=[pictures.reliability(title, bins)]),
                Table(header=("", ""), rows=rows),
            ]
        ),
        Table(
            header=("mean confidence", "share right", "rows"),
            rows=[(f"{one:.3f}", f"{share:.3f}", f"{count:,}") for one, share, count in bins],
            caption=f"Bins ({BINS} of equal width, empty ones left out)",
            folded=True,
        ),
        *_fitted(source.record, split),
        Note(
            text="ECE (Guo et al. 2017): mean distance of confidence and share right over the "
            "bins. Brier score: mean square of the distance of probability and truth"
            + (" summed over classes (0 to 2)." if source.target == "label" else " (0 to 1).")
            + (" An answer is right when its F1 is 1." if source.target == "answers" else "")
        ),
    ]
    return Section(title="Calibration", blocks=blocks)


def abstaining(source: Source) -> Section:
    """Return what is left, and how wrong it is, without the predictions below a confidence."""
    sure, right, errors = _confidences(source)
    graded = any(error not in (0.0, 1.0) for error in errors)
    wrong = 1.0 - np.array(right, dtype=float)
    found = risk_coverage(sure, wrong)
    means = risk_coverage(sure, errors) if graded else []
    rows = [
        (
            f"{one.threshold:g}",
            f"{one.count:,}",
            f"{one.coverage:.1%}",
            "-" if one.risk is None else f"{one.risk:.1%}",
            *([_mean(means[place].risk)] if graded else []),
        )
        for place, one in enumerate(found)
    ]
    header = ["confidence from", "rows", "coverage", "wrong", *(["mean error"] if graded else [])]
    order = np.argsort(-np.array(sure), kind="stable")
    risks = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    shares = np.arange(1, len(order) + 1) / len(order)
    last = np.flatnonzero(np.append(np.diff(np.array(sure)[order]) != 0, True))
    places = last[np.unique(np.linspace(0, len(last) - 1, 200).astype(int))]
    curve = [(float(shares[place]), float(risks[place])) for place in places]
    title = "Risk over coverage: wrong among the surest share of predictions"
    picture = pictures.line(title, {"risk": curve}, "coverage", "share that is wrong")
    area = area_under_risk_coverage(sure, wrong)
    return Section(
        title="Abstaining",
        blocks=[
            Beside(
                blocks=[
                    Pictures(pictures=[picture]),
                    Table(header=header, rows=rows),
                ]
            ),
            Note(
                text=f"Area under the curve (AURC): {area:.4f}, lower is better. "
                "`ftr predict --abstain-below 0.8` leaves out predictions below a confidence."
            ),
        ],
    )


def _mean(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _fitted(record: Record, split: str) -> list[Block]:
    """Return the measures before and after `head.calibrate`, where the run used it."""
    found = (record.get("calibration") or {}).get(split)
    if not found:
        return [
            Note(
                text="The confidences are the model's own: `head.calibrate=temperature` fits them."
            )
        ]
    rows = [
        (name, *(f"{found[side][key]:.4f}" for side in ("before", "after") if side in found))
        for key, name in (("ece", "ECE"), ("brier", "Brier score"), ("nll", "log likelihood, neg."))
    ]
    sides = [side for side in ("before", "after") if side in found]
    caption = "Before and after `head.calibrate`" + (
        ", fitted on these rows" if split == "validation" else ""
    )
    return [Table(header=("", *sides), rows=rows, caption=caption)]


def suspicious(source: Source) -> Section:
    """Return the rows whose label the models that were not trained on them doubt most."""
    try:
        found = suspicious_labels(source.directory.path)
    except RequestError as error:
        if source.record.get("several") == "folds":
            raise MissingError(str(error).rstrip(".")) from error
        raise MissingError(
            "only a run with `cv.folds` predicts every training row by a model that has not seen "
            "it: `ftr run … cv.folds=5`"
        ) from None
    title = "Suspicious labels"
    if not found:
        text = "No other class is more probable than the given one for any row."
        return Section(title=title, blocks=[Note(text=text)])
    shown, more = first_of(found, LABELS)
    columns = source.rows.head.schema.columns
    texts = [column.name for column in columns if column.type in ("text", "tokens")]
    rows = [
        (
            one_line(one.id, 40),
            one.given,
            one.suggested,
            " · ".join(readable(one.row[name], TEXT) for name in texts if one.row.get(name)),
            f"{one.probability:.3f}",
        )
        for one in shown
    ]
    header = ("row", "given", "more probable", "text", "probability")
    note = (
        "Each row is judged by the member that was not trained on it (Northcutt et al. 2021); the "
        "most suspicious comes first. Look at a row before its label is changed."
        + (f" {more} more are not shown." if more else "")
    )
    blocks: list[Block] = [Table(header=header, rows=rows, names=4), Note(text=note)]
    return Section(title=title, blocks=blocks)
