"""Answers in all their forms become SQuAD's `{"text": [...], "answer_start": [...]}`, with offsets in characters."""

from __future__ import annotations

import ast
import json
import re
import tokenize
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO

Answers = dict[str, list[object]]
Pair = tuple[object, object]
"""An answer as it was given: its text and its offset."""

AS_GIVEN, MOVED, CONVERTED, UNUSABLE = "answers as given", "answers moved", "answer offsets converted", "answers not usable"
WINDOWS = (5, 30)
"""Characters to either side of a wrong offset within which its answer is looked for, the nearest first."""
UNITS = {"UTF-16 code units": ("utf-16-le", 2), "UTF-8 bytes": ("utf-8", 1)}
"""What offsets are counted in by programs that do not count characters: the encoding, and bytes per unit."""

_FORM = "answers are not in SQuAD's form"
_STARTS = ("answer_start", "answer_offset", "start_char", "start")
_TEXTS = ("text", "answer_text", "answer")
_ARRAYS = ("array", "int32", "int64", "str_", "list")
_ADJACENT = re.compile(r"""['"\d]\s+['"\d-]""")


def canonical_answers(
    value: object, start: object, context: object, unit: str | None = None, done: Counter[str] | None = None
) -> tuple[Answers, str | None]:
    """Return the usable answers, and why there are none to use, or None; no answers at all are no fault.

    `value` is SQuAD's dict of lists, a list of `{"text", "answer_start"}`, a list of texts, the text of one answer, or any
    of these as JSON or as Python (numpy's arrays too) writes them; `start` its offset or the list of its offsets, looked up
    in `context` where there is none. A wrong offset is moved to the answer where that stands once nearby, and converted where
    `unit` says what the file counts in (see `offset_unit`). `done` gets how many answers were moved, converted, or left out.
    """
    pairs = answer_pairs(value, start)
    if isinstance(pairs, str):
        return {}, pairs
    answers: Answers = {"text": [], "answer_start": []}
    done = Counter() if done is None else done
    causes = []
    for text, offset in [] if only_blank(pairs) else pairs:
        placed = _placed(text, offset, context, unit)
        if isinstance(placed, str):
            causes.append(placed)
            continue
        answers["text"].append(placed[0])
        answers["answer_start"].append(placed[1])
        done[placed[2]] += 1
    if causes and not answers["text"]:
        return {}, causes[0]
    done.update([UNUSABLE] * len(causes) + causes)
    return answers, None


def answer_pairs(value: object, start: object = None) -> list[Pair] | str:
    """Return the answers in `value` as they were given, or why they cannot be told apart."""
    return _pairs(_parsed(value), _parsed(start))


def only_blank(pairs: Sequence[Pair]) -> bool:
    """Whether the answers say that there is none: they have no text."""
    return all(text is None or (isinstance(text, str) and not text.strip()) for text, _ in pairs)


def contradiction(flag: object, answers: Answers) -> str | None:
    """Return what is wrong between the answers and `is_impossible`, in any of its spellings, or None."""
    word = str(int(flag) if isinstance(flag, (bool, float)) else flag).strip().lower()
    if word in ("1", "true", "t", "yes", "y"):
        return "marked impossible, but has answers" if answers["text"] else None
    if word in ("0", "false", "f", "no", "n"):
        return None if answers["text"] else "marked answerable, but has no answer"
    return None if word in ("none", "null", "") else "is_impossible is neither true nor false"


def offset_unit(cells: Sequence[tuple[Sequence[Pair], str]]) -> str | None:
    """Return the unit other than characters that the offsets of a file are counted in, if most of the wrong ones fit it.

    `cells` are the answers of each row and its context.
    """
    told = [(str(text), whole(start), context) for pairs, context in cells for text, start in pairs if not context.isascii()]
    offsets = [(text, start, context) for text, start, context in told if start is not None and start >= 0]
    wrong = [one for one in offsets if not _stands(*one)]
    if not wrong:
        return None
    right = [one for one in offsets if _stands(*one)]
    for unit in UNITS:
        fits = sum(_stands(text, _characters(start, context, unit), context) for text, start, context in wrong)
        breaks = sum(not _stands(text, _characters(start, context, unit), context) for text, start, context in right)
        if 2 * fits > len(wrong) and fits > breaks:
            return unit
    return None


def whole(value: object) -> int | None:
    """Return an offset as a whole number, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return int(str(value))
    except ValueError:
        return None


def _pairs(value: object, start: object) -> list[Pair] | str:
    if value is None or value in ("", [], {}):
        return []
    if isinstance(value, Mapping):
        texts, starts = _of(value, _TEXTS), _of(value, _STARTS)
        if texts is None and not any(name in value for name in _TEXTS):
            return _FORM
        return _zipped([] if texts is None else texts, start if starts is None else starts)
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        several = [_pairs(item, None) for item in value]
        wrong = next((one for one in several if isinstance(one, str)), None)
        return wrong or [pair for one in several if not isinstance(one, str) for pair in one]
    return _zipped(value, start)


def _of(value: Mapping[str, object], names: Sequence[str]) -> object:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _zipped(texts: object, starts: object) -> list[Pair] | str:
    texts = _listed(texts)
    starts = [None] * len(texts) if starts is None or starts == "" else _listed(starts)
    if any(isinstance(text, (list, dict, bool)) for text in texts):
        return _FORM
    if len(texts) != len(starts):
        return "answers have unequal numbers of texts and offsets"
    return list(zip(texts, starts, strict=True))


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _parsed(value: object) -> object:
    """Return what JSON, Python or numpy wrote as text, or the value itself. Nothing is executed."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not (text.startswith(("{", "[", "array(")) and text.endswith(("}", "]", ")"))):
        return value if text else ""
    for parse in (json.loads, _python):
        try:
            parsed: object = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
            continue
        # `[1]` may be the text of an answer; offsets are read from their own column.
        if isinstance(parsed, (dict, list)):
            return parsed
    return value


def _python(text: str) -> object:
    if _ADJACENT.search(text):
        text = _with_commas(text)
    return ast.literal_eval(_Arrays().visit(ast.parse(text, mode="eval")))


class _Arrays(ast.NodeTransformer):
    """Takes `array([...], dtype=...)`, and numpy's scalars, for what is in them."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return self.visit(node.args[0]) if name in _ARRAYS and len(node.args) == 1 else node


def _with_commas(text: str) -> str:
    """Return a literal with commas between items that only white space parts, as numpy prints them: `['a' 'b']`."""
    parts: list[str] = []
    before = None
    for token in tokenize.generate_tokens(StringIO(text).readline):
        plain = token.type in (tokenize.STRING, tokenize.NUMBER) or token.string == "-"
        if plain and before in (tokenize.STRING, tokenize.NUMBER):
            parts.append(",")
        parts.append(token.string if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT) else " ")
        before = token.type if token.type not in (tokenize.NL, tokenize.NEWLINE) else before
    return " ".join(parts)


def _placed(text: object, start: object, context: object, unit: str | None) -> tuple[str, int, str] | str:
    """Return the text, its offset, and what was done to that; or why the answer cannot be used."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str) or not text.strip():
        return "answer text is empty"
    if not isinstance(context, str):
        return "answer is not in the context"
    if start is None or start == "":
        return _found(text, context, AS_GIVEN)
    offset = whole(start)
    if offset is None:
        return "answer_start is not a whole number"
    if offset < 0:  # what converters write for "not found"
        return _found(text, context, MOVED)
    converted = None if unit is None else _characters(offset, context, unit)
    if converted is not None and converted != offset and _stands(text, converted, context):
        return text, converted, CONVERTED
    if _stands(text, offset, context):
        return text, offset, AS_GIVEN
    for part in dict.fromkeys((text, text.strip())):
        near = _nearest(part, offset, context)
        if near is not None:
            return part, near, MOVED
    return "answer_start does not point at the answer"


def _found(text: str, context: str, done: str) -> tuple[str, int, str] | str:
    count = context.count(text)
    if count == 1:
        return text, context.index(text), done
    return "answer is not in the context" if count == 0 else "answer occurs more than once in the context and has no answer_start"


def _nearest(text: str, offset: int, context: str) -> int | None:
    """Return where `text` stands in the smallest of the windows around `offset` that has it, unless it stands there twice."""
    for window in WINDOWS:
        first, last = max(0, offset - window), offset + window + len(text)
        at = context.find(text, first, last)
        if at >= 0:
            return at if context.find(text, at + 1, last) < 0 else None
    return None


def _stands(text: str, start: int | None, context: str) -> bool:
    return start is not None and context[start : start + len(text)] == text


def _characters(offset: int, context: str, unit: str) -> int | None:
    """Return an offset in units of `unit` as one in characters; None where it falls inside a character."""
    encoding, size = UNITS[unit]
    content = context.encode(encoding, "surrogatepass")
    try:
        return len(content[: offset * size].decode(encoding)) if offset * size <= len(content) else None
    except UnicodeDecodeError:
        return None
