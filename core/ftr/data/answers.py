"""Answers in all their forms become SQuAD's `{"text": [...], "answer_start": [...]}`."""

import ast
import json
from collections.abc import Mapping

Answers = dict[str, list[object]]


def canonical_answers(value: object, start: object, context: object) -> tuple[Answers, str | None]:
    """Return the answers and why they cannot be used, or None.

    `value` is SQuAD's dict of lists, a list of `{"text", "answer_start"}`, either of them as a JSON string, or the
    text of one answer; `start` its offset in characters, looked up in `context` when it is None.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if value is None or value in ("", [], {}):
        return {"text": [], "answer_start": []}, None
    if isinstance(value, str):
        return _one(value, start, context)
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        value = [value]
    if isinstance(value, list):
        value = _columns(value)
    return _checked(value, context) if isinstance(value, Mapping) else ({}, "answers are not in SQuAD's form")


def _parsed(value: str) -> object:
    text = value.strip()
    if not (text.startswith(("{", "[")) and text.endswith(("}", "]"))):
        return value if text else ""
    for parse in (json.loads, ast.literal_eval):
        try:
            parsed: object = parse(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(parsed, (dict, list)):
            return parsed
    return value


def _columns(items: list[object]) -> Mapping[str, object] | None:
    texts: list[object] = []
    starts: list[object] = []
    for item in items:
        answer = {"text": item} if isinstance(item, str) else item
        if not isinstance(answer, Mapping):
            return None
        texts.append(answer.get("text"))
        starts.append(answer.get("answer_start"))
    return {"text": texts, "answer_start": starts}


def _checked(value: Mapping[str, object], context: object) -> tuple[Answers, str | None]:
    texts = value.get("text")
    starts = value.get("answer_start")
    if not isinstance(texts, list):
        return {}, "answers are not in SQuAD's form"
    if starts is None:
        starts = [None] * len(texts)
    if not isinstance(starts, list) or len(texts) != len(starts):
        return {}, "answers have unequal numbers of texts and offsets"
    answers: Answers = {"text": [], "answer_start": []}
    for text, start in zip(texts, starts, strict=True):
        one, cause = _one(text, start, context)
        if cause:
            return {}, cause
        answers["text"] += one["text"]
        answers["answer_start"] += one["answer_start"]
    return answers, None


def _one(text: object, start: object, context: object) -> tuple[Answers, str | None]:
    if not isinstance(text, str) or not text:
        return {}, "answer text is empty"
    if start is None or start == "":
        start, cause = _find(text, context)
        if cause:
            return {}, cause
    offset = _whole(start)
    if offset is None or offset < 0:
        return {}, "answer_start is not a whole number"
    return {"text": [text], "answer_start": [offset]}, None


def _find(text: str, context: object) -> tuple[int, str | None]:
    count = context.count(text) if isinstance(context, str) else 0
    if count == 1 and isinstance(context, str):
        return context.index(text), None
    return -1, "answer is not in the context" if count == 0 else "answer occurs more than once in the context and has no answer_start"


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return int(str(value))
    except ValueError:
        return None
