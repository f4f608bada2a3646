"""What a request may hold: limits, JSON bodies, rows and options; and why one is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NoReturn

from ftr.atomic import finite
from ftr.data.answers import EXTRA_COLUMNS, answers_column
from ftr.data.columns import ID
from ftr.errors import did_you_mean
from ftr.registry.schema import Column, RowSchema

BYTES_PER_TOKEN = 4
"""Of English and of most other languages in UTF-8. Batches are filled by this estimate."""
RETRY_SECONDS = 1


class RefusedError(Exception):
    """A request that gets no answer: the HTTP status and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the service takes at a time."""

    body: int = 2**20
    """Bytes of a request; more: 413."""
    rows: int = 256
    """Rows of a request; more: 413."""
    tokens: int = 32_768
    """Tokens in the texts of a request; more: 413."""
    waiting: int = 256
    """Requests that are not answered yet; one more: 429."""
    batch_rows: int = 64
    """Rows of one call of the model."""
    batch_tokens: int = 8192
    """Tokens of one call of the model, estimated; one row may have more."""
    seconds: float = 60.0
    """How long a request may take; longer: 503."""

    def as_json(self) -> dict[str, Any]:
        """Return the limits by name."""
        return asdict(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the limits."""
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a request asks for besides its rows: the options of `ftr predict` of these names."""

    abstain_below: float | None = None
    top_k: int | None = None


def parse_options(query: Mapping[str, str]) -> Options:
    """Return the options of a query string, `model` aside. Raises `RefusedError` (400)."""
    known = ("model", "abstain_below", "top_k")
    for name in query:
        if name not in known:
            raise RefusedError(400, f"unknown parameter in the query.{did_you_mean(name, known)}")
    below, most = query.get("abstain_below"), query.get("top_k")
    try:
        return Options(
            abstain_below=None if below is None else float(below),
            top_k=None if most is None else int(most),
        )
    except ValueError:
        raise RefusedError(400, "`abstain_below` or `top_k` is not a number") from None


def parse_body(content: bytes) -> Any:
    """Return the value of a JSON body.

    Refuses (400) what JSON does not allow and Python reads nevertheless: NaN, a key given twice.
    """
    if not content.strip():
        raise RefusedError(400, "the body is empty: send a row, or a list of rows, as JSON")
    try:
        return json.loads(
            content.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_once
        )
    except UnicodeDecodeError as error:
        reason = f"the body is not UTF-8: byte {error.start} does not fit"
    except json.JSONDecodeError as error:
        reason = f"the body is not JSON: {error.msg} (character {error.pos})"
    except RecursionError:
        reason = "the body is nested too deeply"
    except ValueError:  # an integer of thousands of digits
        reason = "the body has a number with too many digits"
    raise RefusedError(400, reason)


def _no_number(name: str) -> NoReturn:
    raise RefusedError(400, f"the body is not JSON: `{name}` is not a JSON number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RefusedError(400, "an object of the body has the same key twice")
    return found


def as_rows(body: Any, limits: Limits) -> list[Any]:
    """Return the rows of a body: a row, or a list of them. Raises `RefusedError`."""
    rows = body if isinstance(body, list) else [body]
    if not rows:
        raise RefusedError(422, "the list of rows is empty")
    if len(rows) > limits.rows:
        raise RefusedError(
            413, f"{len(rows)} rows are more than the {limits.rows} that a request may have"
        )
    if not isinstance(body, (list, dict, str)):
        raise RefusedError(422, _no_row(body))
    return rows


def _no_row(value: object) -> str:
    kind = {type(None): "null", bool: "a boolean", list: "a list"}.get(type(value), "a number")
    return f"a row is an object or a text, not {kind}"


def input_columns(schema: RowSchema) -> list[Column]:
    """Return the columns of the rows to predict."""
    return [column for column in schema.columns if not column.target]


def as_row(given: object, schema: RowSchema) -> tuple[dict[str, Any], str | None]:
    """Return a row under the canonical names of its columns, and why it cannot be used, or None.

    A plain text is a row where one text is enough. Columns may have the names that `ftr predict`
    finds in a file; what the model learned (a label) may be there and is ignored.
    """
    inputs = input_columns(schema)
    if isinstance(given, str):
        needed = [column.name for column in inputs if column.required]
        if len(needed) == 1:
            return {needed[0]: given}, None
        expected = " and ".join(f"`{name}`" for name in needed)
        return {}, f"a plain text is not enough: send an object with {expected}"
    if not isinstance(given, Mapping):
        return {}, _no_row(given)
    row: dict[str, Any] = {}
    names = _names(schema)
    for key, value in given.items():
        name = names.get(key.lower())
        if name is None:
            known = [column.name for column in (*inputs, ID)]
            hint = did_you_mean(key, known) or f" Known: {', '.join(f'`{one}`' for one in known)}."
            return {"id": given.get("id")}, f"unknown key `{key[:60]}`.{hint}"
        if name in row:
            return {"id": given.get("id")}, f"two keys stand for `{name}`"
        row[name] = value
    return row, None


def _names(schema: RowSchema) -> dict[str, str]:
    """Return the canonical name for each name that a column may have, in lower case."""
    extra = EXTRA_COLUMNS if answers_column(schema) else ()
    columns = (*schema.columns, *extra, ID)
    names = {alias.lower(): column.name for column in columns for alias in column.aliases}
    return names | {column.name.lower(): column.name for column in columns}


def estimated_tokens(given: object) -> int:
    """Return about how many tokens the texts of a row have."""
    return max(1, text_bytes(given) // BYTES_PER_TOKEN)


def text_bytes(given: object) -> int:
    """Return the bytes of the texts in a row: the most tokens that they can have."""
    if isinstance(given, str):
        return len(given.encode("utf-8", "replace"))
    if isinstance(given, (int, float)):  # read as texts
        return len(str(given))
    if isinstance(given, Mapping):
        return sum(map(text_bytes, given.values()))
    return sum(map(text_bytes, given)) if isinstance(given, list) else 0


def texts_of(given: object) -> list[str]:
    """Return the texts in a row."""
    if isinstance(given, (str, int, float)):
        return [str(given)]
    if isinstance(given, Mapping):
        return [text for value in given.values() for text in texts_of(value)]
    return [text for item in given for text in texts_of(item)] if isinstance(given, list) else []


def dump(value: object) -> bytes:
    """Return plain data as JSON that every parser reads: a number that is not finite is null."""
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "backslashreplace"
    )
