"""One model of the service: it checks rows, joins requests and answers as `ftr predict` does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ftr.data.rows import harmless
from ftr.errors import RequestError
from ftr.registry.protocols import provides
from ftr.runs.predicted import Unusable, check_top_k
from ftr.runs.predictor import Predictor, load, model_folder
from ftr.serving.batching import Answered, Batcher
from ftr.serving.requests import (
    Limits,
    Options,
    RefusedError,
    as_row,
    estimated_tokens,
    input_columns,
    text_bytes,
    texts_of,
)

WARM = "warm up"
ROWS_ON_CPU = 32
"""Rows of similar length that a CPU computes at once: with more, padding costs more than it saves.
64 clients got 157 answers a second of a MiniLM so, 57 with 8 rows (two cores, sentences of 3 to 40
words).
"""


class Backend(Protocol):
    """A model that answers requests: in this process, or in replicas of Ray Serve."""

    about: dict[str, Any]
    """What `GET /models` says of it."""

    @property
    def waiting(self) -> int | None:
        """Requests that wait for a call of the model; None: they wait elsewhere."""
        ...

    async def answer(self, rows: Sequence[Any], options: Options) -> Answered:
        """Return one record a row, in order: a prediction, or the `error` of an unusable row.

        Raises `RefusedError`.
        """
        ...

    async def close(self) -> None:
        """Free the model; no request is waiting."""
        ...


class LocalModel:
    """A model in this process."""

    def __init__(
        self, name: str, folder: Path, limits: Limits, backend: str, precision: str
    ) -> None:
        """Load and warm up the model in `folder`. Raises `ModelError`."""
        self.predictor: Predictor = load(folder, precision=precision, backend=backend)
        engine = self.predictor.engine
        if engine.model.device.type == "cpu":
            self.predictor.engine = replace(engine, eval_batch_size=ROWS_ON_CPU)
        self.limits = limits
        self.batcher = Batcher(
            self._answer, max_rows=limits.batch_rows, max_tokens=limits.batch_tokens
        )
        self.about = {**describe(self.predictor, name), "backend": backend, "precision": precision}

    @property
    def waiting(self) -> int:
        """Requests that wait for a call of the model."""
        return self.batcher.waiting

    async def answer(self, rows: Sequence[Any], options: Options) -> Answered:
        """Return one record a row: see `Backend`."""
        try:
            self.predictor.check_abstain(options.abstain_below)
            check_top_k(options.top_k, self.predictor.card.head, self.predictor.card.labels)
        except RequestError as error:
            raise RefusedError(422, str(error)) from None
        await self._check_tokens(rows)
        numbered = list(enumerate(rows))
        answered = await self.batcher.answer(numbered, [estimated_tokens(row) for row in rows])
        if options != Options():
            try:
                answered.records = [
                    record
                    if "error" in record
                    else self.predictor.shown(record, options.abstain_below, options.top_k)
                    for record in answered.records
                ]
            except RequestError as error:  # a head with labels that gives no probabilities
                raise RefusedError(422, str(error)) from None
        return answered

    async def close(self) -> None:
        """Free the model."""
        await self.batcher.close()

    async def _check_tokens(self, rows: Sequence[Any]) -> None:
        most = self.limits.tokens
        if sum(map(text_bytes, rows)) <= most:  # a token has a byte or more
            return
        texts = [text for row in rows for text in texts_of(row)]
        found = await self.batcher.alone(self._count, texts)
        if found > most:
            raise RefusedError(
                413, f"the texts have {found} tokens, more than the {most} of a request"
            )

    def _count(self, texts: list[str]) -> int:
        safe = [str(harmless(text)) for text in texts]
        ids = self.predictor.engine.tokenizer(safe, add_special_tokens=False)["input_ids"]
        return sum(map(len, ids))

    def _answer(self, rows: list[tuple[int, Any]]) -> list[dict[str, Any]]:
        """Return a prediction or an error for each row, which come with their numbers."""
        schema = self.predictor.head.schema
        usable, found = [], []
        for number, given in rows:
            raw, cause = as_row(given, schema)
            name = raw.get("id")
            if cause is None:
                row, cause = self.predictor.check(raw, number)
                name = row["id"]
                usable += [row] if cause is None else []
            found.append((str(number) if name is None else str(name), cause))
        predictions = self.predictor.stream(usable, errors="record")
        answers = (
            next(predictions) if cause is None else Unusable(id=name, error=cause)
            for name, cause in found
        )
        return [
            {key: harmless(value) for key, value in one.items()}
            if isinstance(one, Unusable)
            else one
            for one in answers
        ]


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads models into this process."""

    limits: Limits
    backend: str
    precision: str

    async def load(self, name: str, run: str) -> LocalModel:
        """Load and warm up a model, in another thread. Raises `ModelError`."""
        folder = model_folder(run)
        return await asyncio.to_thread(
            LocalModel, name, folder, self.limits, self.backend, self.precision
        )


def describe(predictor: Predictor, name: str) -> dict[str, Any]:
    """Return what a caller needs to know of a model, with the prediction of a made row."""
    card, schema = predictor.card, predictor.head.schema
    columns = input_columns(schema)
    made: dict[str, Any] = {
        column.name: WARM.split() if column.type == "tokens" else WARM
        for column in columns
        if column.required
    }
    row, cause = predictor.check(made, 0)
    example = next(predictor.stream([row], errors="record")) if cause is None else None
    return {
        "name": name,
        "task": card.task,
        "head": card.head,
        "labels": list(card.labels),
        "max_length": card.max_length,
        "abstains": provides(predictor.head, "confidence"),
        "columns": [
            {
                "name": column.name,
                "type": column.type,
                "required": column.required,
                "aliases": list(column.aliases),
            }
            for column in columns
        ],
        "example": None if isinstance(example, Unusable) else example,
    }
