"""`ftr.load`: load a trained model for predictions."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ftr.config.schema import Component, TrainConfig
from ftr.data.clean import as_given
from ftr.data.columns import check_row
from ftr.data.encode import count_unknown, head_columns
from ftr.data.rows import blank_as_none, until_full
from ftr.errors import DataError, ModelError, RequestError
from ftr.model.components import make_head
from ftr.model.folder import FTR_JSON, ModelCard, read_card, write_card
from ftr.model.hub import download, is_hub
from ftr.paths import expanded
from ftr.registry.isolation import ProcessLock, loading
from ftr.registry.protocols import CALIBRATION, EncodeSettings, provides
from ftr.registry.registry import Registry, registry_for_record
from ftr.runs.directory import RECORD, RunDirectory, near_run
from ftr.runs.predicted import (
    PredictionRecord,
    Unusable,
    check_top_k,
    most_probable,
    plain_cells,
    rows_in,
)

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from pandas import DataFrame, Series
    from pyarrow import Table

    from ftr.registry.protocols import Prediction, Row, State
    from ftr.train.inference import EncodedSplit

    Rows: TypeAlias = (
        Iterable[str | Mapping[str, Any]] | DataFrame | Series | Dataset | IterableDataset | Table
    )


CHUNK = 16384
"""Rows that are encoded and answered at a time, which bounds memory."""


def model_folder(path: str | Path) -> Path:
    """Return the checkpoint directory of a run directory, the directory itself, or the downloaded
    one of a model of the Hub (`hub:owner/name`).

    Raises `ModelError`.
    """
    if is_hub(path):
        path = download(str(path))
    given = expanded(path, "run")
    for folder in (given / "model", given):
        if (folder / FTR_JSON).is_file():
            if folder != given and not folder.resolve().is_relative_to(given.resolve()):
                raise ModelError(
                    f"`{folder}` is a link to `{folder.resolve()}`, outside the run: give that "
                    "directory."
                )
            return folder
    if (given / RECORD).is_file():
        RunDirectory(given).check_removed()
        record: dict[str, Any] = {}
        with contextlib.suppress(RequestError):
            record = RunDirectory(given).read()
        if record.get("status") == "done" and record.get("several") == "folds":
            raise ModelError(
                f"run `{given}` is a cross-validation, which leaves no model of its own: give a "
                f"member, such as `{given / record['members'][record['best_member']]['path']}`, or "
                "train with `ensemble=folds`."
            )
        raise ModelError(f"run `{given}` has no model yet: its status is in `{given / RECORD}`.")
    raise ModelError(
        f"`{given}` is neither a run directory nor a model directory written by ftr (no "
        f"`model/{FTR_JSON}`, no `{FTR_JSON}`).{near_run(given)}"
    )


BACKENDS = ("torch", "onnx")
"""What computes the answers of a model."""


def load(
    path: str | Path,
    *,
    registry: Registry | None = None,
    precision: str = "fp32",
    backend: str = "torch",
) -> Predictor:
    """Load a trained model.

    `path` is a run directory, a model directory, or `hub:owner/name`. `precision` is fp32 (what
    plain transformers computes), bf16, fp16 or auto; `backend` is torch or onnx, which is what
    `ftr export RUN onnx` made, in its own precision. Threads may call it: one loads at a time.
    Raises `ModelError`, and `RequestError` for a missing plugin file or package.
    """
    if backend not in BACKENDS:
        raise RequestError(
            f"`backend` (`--backend`) is `{backend}`: it is one of {', '.join(BACKENDS)}."
        )
    if backend != "torch" and precision not in ("fp32", "auto"):
        raise RequestError(
            f"`precision` (`--precision`) is `{precision}`, which `backend={backend}` does not "
            "have: the precision is chosen by `ftr export`."
        )
    folder = model_folder(path)
    with loading():
        if folder.name == "model":
            RunDirectory(folder.parent).check_weights(missing=False)
        return Predictor(
            folder,
            registry or registry_for_record(read_card(folder).plugins),
            precision,
            backend,
        )


class Predictor:
    """A trained model, or an ensemble, with its head: it turns texts or rows into the predictions
    that the run itself made.

    Threads may share one: it answers one chunk of rows at a time.
    """

    def __init__(
        self,
        folder: Path,
        registry: Registry,
        precision: str = "fp32",
        backend: str = "torch",
    ) -> None:
        """Load the checkpoint, or the members of the ensemble, in `folder`."""
        import datasets  # noqa: F401 (needed at the first answer, which several threads may ask for)

        from ftr.train.ensemble import (
            load_engine,
            load_exported,
            member_folders,
            member_votes,
        )
        from ftr.train.hardware import choose_numerics

        # A tokenizer stores how it truncates and pads, and a head may store anything.
        self._lock = ProcessLock()
        self.folder = folder
        self.card: ModelCard = read_card(folder)
        self.head = make_head(
            registry, Component(name=self.card.head, options=self.card.head_options)
        )
        numerics = choose_numerics(TrainConfig.model_validate({"precision": precision}))
        folders = member_folders(folder)
        _check_card(self.card, folder, folders[0])
        votes = member_votes(folder)
        if backend == "onnx":
            self.engine = load_exported(folder, folders, self.head, self.card, votes)
        else:
            self.engine = load_engine(folders, self.head, self.card, numerics, votes)
        self.cleaner = self.card.cleaner
        self.tokens: Counter[str] = Counter()
        """The tokens encoded so far: see `ftr.data.encode`."""
        self.settings = EncodeSettings(
            max_length=self.card.max_length,
            stride=self.card.stride,
            labels=self.card.labels,
            targets=False,
        )

    def check(self, raw: Mapping[str, Any], number: int) -> tuple[Row, str | None]:
        """Return a row as `stream` takes it, cleaned, and why it cannot be used, or None.

        `raw` has the columns of the head by their names; `number` is the `id` of a row without one.
        """
        schema = self.head.schema
        row, cause = check_row(raw, schema, str(number), labelled=False)
        if cause is None:
            row, cause = self.cleaner.row(row, schema)
        return row, cause or self.head.check(row)

    def predict(
        self,
        rows: Rows,
        *,
        abstain_below: float | None = None,
        top_k: int | None = None,
        errors: Literal["raise", "record"] = "raise",
    ) -> list[PredictionRecord]:
        """Return one prediction a row, in order: a dict whose keys are attributes too.

        `rows` is an iterable of mappings of the head's columns, or of texts where one is enough; a
        `DataFrame` or `Series` of pandas; a `datasets.Dataset`; a `pyarrow.Table`. With
        `abstain_below`, 0 to 1, every prediction has its `confidence`, and those of a lower one are
        `abstained`: see `abstained`. `top_k` keeps the most probable of its `probabilities`.

        A row that cannot be used raises `DataError`, which names the first; with `errors="record"`
        its record has `id` and `error` instead. Raises `RequestError` for a single text or mapping,
        and for what the head cannot give.
        """
        if errors not in ("raise", "record"):
            raise RequestError(f"`errors` is {errors!r}: it is `raise` or `record`.")
        self.check_abstain(abstain_below)
        check_top_k(top_k, self.card.head, self.card.labels)
        failed: dict[int, Prediction] | None = {} if errors == "record" else None
        usable = self._checked(rows_in(rows), failed)
        stream = self.stream(usable, abstain_below=abstain_below, top_k=top_k, errors=errors)
        found = iter(list(stream))
        if not failed:
            return list(map(PredictionRecord, found))
        answers: list[PredictionRecord] = []
        for number in sorted(failed):
            answers += map(PredictionRecord, islice(found, number - len(answers)))
            answers.append(PredictionRecord(failed[number]))
        return [*answers, *map(PredictionRecord, found)]

    def stream(
        self,
        rows: Iterable[Row],
        *,
        restore: bool = True,
        abstain_below: float | None = None,
        top_k: int | None = None,
        errors: Literal["raise", "record"] = "raise",
    ) -> Iterator[Prediction]:
        """Yield a prediction for each of `rows`, which are cleaned and pass the head's check, a
        bounded number at a time.

        With `restore`, positions in a prediction are those in the given text, else those in the
        cleaned text. `abstain_below`, `top_k` and `errors` are those of `predict`: a row that the
        head cannot encode raises `DataError`, or is `Unusable`.
        """
        for chunk in _chunks(rows):
            found = self._answer if errors == "raise" else self._answer_or_record
            for prediction in found(chunk, restore):
                usable = not isinstance(prediction, Unusable)
                yield self.shown(prediction, abstain_below, top_k) if usable else prediction

    def shown(
        self, prediction: Prediction, abstain_below: float | None, top_k: int | None
    ) -> Prediction:
        """Return a prediction as `predict` gives it with these options."""
        shown = prediction
        if top_k is not None:
            shown = most_probable(prediction, top_k, self.card.head)
        if abstain_below is not None and provides(self.head, "confidence"):
            shown = abstained(shown, self.head.confidence(prediction) or 0.0, abstain_below)
        return shown

    def check_abstain(self, below: float | None) -> None:
        """Raise `RequestError` for a confidence that is none, or that the head does not give."""
        if below is None:
            return
        if not 0 <= below <= 1:
            raise RequestError(
                f"`abstain_below` (`--abstain-below`) is {below}: a confidence is a probability, "
                "0 to 1."
            )
        if not provides(self.head, "confidence"):
            raise RequestError(
                f"head `{self.card.head}` gives no confidence, so it cannot abstain: leave "
                "`abstain_below` (`--abstain-below`) out."
            )

    @property
    def calibrated(self) -> bool:
        """Whether confidences were fitted on validation rows (`head.calibrate`)."""
        return CALIBRATION in self.card.state

    def calibrate(self, rows: Sequence[Row]) -> State:
        """Choose the head's state (a threshold) on `rows`, which have their targets, and use it
        from now on.
        """
        records = [record for chunk in _chunks(rows) for record in self._records(chunk)]
        state = self.head.calibrate(rows, records, self.card.labels)
        self.card = replace(self.card, state=state)
        return self.card.state

    def save_state(self) -> None:
        """Write the state into the model's `ftr.json`."""
        write_card(self.folder, self.card)

    def _records(self, rows: Sequence[Row]) -> list[list[Any]]:
        with self._lock:
            return self.engine.records(self._encode(rows))

    def _answer(self, rows: Sequence[Row], restore: bool) -> list[Prediction]:
        records = self._records(rows)
        with self._lock:
            predictions = self.engine.decode(rows, records, self.card.state)
        return as_given(self.head, rows, predictions, self.cleaner) if restore else predictions

    def _answer_or_record(self, rows: Sequence[Row], restore: bool) -> list[Prediction]:
        """Return an answer for each row. Where the head refuses some (`DataError`), halves are
        answered until each of those is alone.
        """
        try:
            return self._answer(rows, restore)
        except DataError as error:
            if len(rows) == 1:
                return [Unusable(id=rows[0]["id"], error=str(error))]
        half = len(rows) // 2
        parts = (rows[:half], rows[half:])
        return [one for part in parts for one in self._answer_or_record(part, restore)]

    def _encode(self, rows: Sequence[Row]) -> EncodedSplit:
        import numpy as np
        import pyarrow as pa
        from datasets import Dataset

        from ftr.train.inference import EncodedSplit

        columns = head_columns(rows, self.head, self.engine.tokenizer, self.settings)
        columns.pop("notes", None)
        ids = np.fromiter(chain.from_iterable(columns["input_ids"]), np.int64)
        self.tokens += count_unknown(ids, self.engine.tokenizer)
        # Without one, `datasets` hashes both: that takes longer than a row takes the model.
        name = {"fingerprint": "predicted"}
        numbers = pa.table({"index": list(range(len(rows)))})
        return EncodedSplit(Dataset(numbers, **name), Dataset(pa.table(columns), **name))

    def _checked(self, rows: Iterable[Any], failed: dict[int, Prediction] | None) -> Iterator[Row]:
        """Yield the rows that can be used; `failed` gets records of the others by their number, and
        where it is None the first raises `DataError`.
        """
        columns = self.head.schema.columns
        needed = [one.name for one in columns if one.required and one.type in ("text", "tokens")]
        for number, given in enumerate(rows):
            if isinstance(given, str) and len(needed) != 1:
                raise DataError(
                    f"a plain text is not enough for head `{self.card.head}`: give a mapping with "
                    f"{', '.join(f'`{name}`' for name in needed)}."
                )
            raw = {needed[0]: given} if isinstance(given, str) else blank_as_none(given)
            cells = plain_cells(raw or {}) if isinstance(raw, Mapping | None) else {}
            row, cause = self.check(cells, number)
            if not isinstance(raw, Mapping | None):
                cause = f"`{type(given).__name__}` is neither a text nor a mapping of columns"
            if cause is None:
                yield row
            elif failed is not None:
                failed[number] = {"id": row["id"], "error": cause}
            else:
                lacks = cells and not all(name in cells for name in needed)
                there = f"; given: {', '.join(cells)}" if lacks else ""
                raise DataError(
                    f"row {number}: {cause}. Columns needed: {', '.join(needed)}{there}."
                )


def _check_card(card: ModelCard, folder: Path, member: Path) -> None:
    """Refuse a card of `folder` that asks for more than the model in `member` has."""
    from ftr.model.pretrained import Pretrained

    longest = Pretrained(str(member), complete=True).max_length()
    if longest is not None and 0 < longest < card.max_length:
        raise ModelError(
            f"`max_length` in `{folder / FTR_JSON}` is {card.max_length}, and the model takes "
            f"{longest} tokens."
        )
    # Each label has a row of weights; too many would exhaust memory before the weights are found
    # not to fit.
    if 8 * len(card.labels) > sum(path.stat().st_size for path in member.glob("*.safetensors")):
        raise ModelError(
            f"`{folder / FTR_JSON}` has {len(card.labels)} labels, more than its weights can have."
        )


def abstained(prediction: Prediction, confidence: float, below: float) -> Prediction:
    """Return a prediction with its `confidence`, and with `abstained`: whether that is less than
    `below`.

    Then all it predicts is None, and what it would be is `best_guess`.
    """
    about = {"confidence": confidence, "abstained": not confidence >= below}
    if not about["abstained"]:
        return {**prediction, **about}
    guess = {key: value for key, value in prediction.items() if key not in ("id", "confidence")}
    return {"id": prediction["id"], **dict.fromkeys(guess), **about, "best_guess": guess}


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while chunk := list(until_full(islice(remaining, CHUNK), dict)):
        yield chunk
