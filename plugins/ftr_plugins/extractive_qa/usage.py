"""Answer questions with the model in this folder by plain transformers, without ftr.

    python usage.py "Who painted it?" passage.txt

or in Python `from usage import answer`. It answers as ftr does: passages are read in overlapping
windows, the best span of all windows is the answer, and there is none where the score of "no
answer" exceeds that of the span by more than the threshold in `ftr.json`.
"""

import json
import sys
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

FOLDER = Path(__file__).resolve().parent


@cache
def loaded() -> tuple[Any, Any, Any]:
    """Return the tokenizer, the model, and the settings in `ftr.json`."""
    model = AutoModelForQuestionAnswering.from_pretrained(FOLDER, dtype=torch.float32)
    settings = json.loads((FOLDER / "ftr.json").read_text(encoding="utf-8"))
    return AutoTokenizer.from_pretrained(FOLDER), model.eval(), settings


def answer(question: str, context: str) -> dict[str, Any]:
    """Return the `answer`, "" for none, and its characters [`start`, `end`) in the context."""
    tokenizer, model, settings = loaded()
    options, state, inf = settings["head_options"], settings["state"], float("inf")
    windows = tokenizer(
        cut(question.strip(), tokenizer, options["max_question_length"]), context,
        max_length=settings["max_length"], stride=settings["stride"], truncation="only_second",
        return_overflowing_tokens=True, return_offsets_mapping=True, padding=True,
        return_tensors="pt",
    )  # fmt: skip
    del windows["overflow_to_sample_mapping"]
    places = windows.pop("offset_mapping").tolist()
    with torch.inference_mode():
        outputs = model(**windows)
    null, best = inf, (-inf, 0, 0)
    for number, start in enumerate(outputs.start_logits):
        end, count = outputs.end_logits[number], len(start)
        null = min(null, float(start[0] + end[0]))
        inside = torch.tensor([part == 1 for part in windows.sequence_ids(number)])
        near = torch.ones(count, count).triu().tril(options["max_answer_length"] - 1).bool()
        scores = (start[:, None] + end).masked_fill(~(near & inside & inside[:, None]), -inf)
        found = scores.flatten().topk(min(options["n_best"], count * count))
        for score, place in zip(*found, strict=True):
            first, last = divmod(int(place), count)
            span = stripped(context, places[number][first][0], places[number][last][1])
            if span[0] < span[1] and float(score) > best[0]:
                best = (float(score), *span)
    threshold = state.get("no_answer_threshold")
    threshold = threshold if options["threshold"] is None else options["threshold"]
    if best[0] == -inf or (threshold is not None and null - best[0] > threshold):
        return {"answer": "", "start": None, "end": None}
    return {"answer": context[best[1] : best[2]], "start": best[1], "end": best[2]}


def cut(question: str, tokenizer: Any, most: int) -> str:
    """Return the question without what comes after its first `most` tokens."""
    while True:
        tokens = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        if len(tokens["offset_mapping"]) <= most:
            return question
        question = question[: min(tokens["offset_mapping"][most - 1][1], len(question) - 1)]


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without white space around it, and with the marks of its last letter."""
    start += len(text[start:end]) - len(text[start:end].lstrip())
    end = start + len(text[start:end].rstrip())
    while start < end < len(text) and (
        unicodedata.category(text[end])[0] == "M" or "\u1160" <= text[end] <= "\u11ff"
    ):
        end += 1
    return start, end


if __name__ == "__main__":
    passage = Path(sys.argv[2]).read_text(encoding="utf-8")
    print(json.dumps(answer(sys.argv[1], passage), ensure_ascii=False))
