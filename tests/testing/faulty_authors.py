# mypy: allow-untyped-defs, allow-untyped-calls
"""Heads, metrics and rows on `ftr.plugin`, each with one common mistake."""

from __future__ import annotations

from ftr.plugin import Column, Head

TEXT, PAIR, TITLE = (Column(name=name) for name in ("text", "text_pair", "title"))
LABEL, SCORE = Column(name="label", type="label"), Column(name="score", type="number")


class Healthy(Head):
    columns = (TEXT, LABEL)


class Number(Head):
    columns = (TEXT, SCORE)

    def reduce(self, outputs, features):
        return outputs["logits"].squeeze(-1).tolist()

    def predict(self, row, output, labels, state):
        return {"score": output}

    def compare(self, row, prediction):
        return prediction["score"], row["score"]


class ForgetsCompare(Number):
    compare = Head.compare


class ForgetsPredict(Number):
    predict = Head.predict


class ReducesWithoutCombine(Healthy):
    def reduce(self, outputs, features):
        return list(outputs["logits"].sigmoid().numpy())


class ThreeTexts(Head):
    columns = (TEXT, PAIR, TITLE, LABEL)


class NoColumns(Head):
    pass


class SeveralFeatures(Healthy):
    def encode(self, rows, tokenizer, settings):
        columns = super().encode(rows, tokenizer, settings)
        return {name: [value for value in values for _ in "ab"] for name, values in columns.items()}


class LogitsAsTheyAre(Healthy):
    def reduce(self, outputs, features):
        return list(outputs["logits"])


class PredictsNumpy(Healthy):
    def predict(self, row, output, labels, state):
        return {**super().predict(row, output, labels, state), "score": output.max()}


class Tunes(Healthy):
    def tune(self, rows, records):
        return {"threshold": 0.5}


class OptionWithoutType(Healthy):
    def __init__(self, focus=0.0):
        super().__init__()


class OptionInSilence(Healthy):
    def __init__(self, focus: float = 0.0) -> None:
        super().__init__()


def returns_text(predictions, references):
    return "good"


def returns_none(predictions, references):
    return None


def recall_of_the_last(predictions, references, labels):
    last = labels.index("poor")
    found = [one for one, true in zip(predictions, references, strict=True) if true == last]
    return found.count(last) / len(found)


def asks_for_margins(predictions, references, margins):
    return 0.0


def unsteady_rows():
    import random

    return [{"text": str(random.random()), "label": "ab"[n % 2]} for n in range(8)]


def rows_of_texts():
    return ["one", "two"]
