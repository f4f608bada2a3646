"""The head from row to prediction, on tiny models of four families."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr.errors import ModelError
from ftr.registry.protocols import EncodeSettings
from ftr.testing.tiny import FAMILIES, Family, tiny_checkpoint, tiny_tokenizer
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from ftr_plugins.extractive_qa.metrics import squad
from ftr_plugins.extractive_qa.options import ExtractiveQAOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftr.registry.protocols import Row, State

CONTEXT = (
    "the old mill stands by the river . it was built in 1803 by two brothers and ground wheat "
    "until 1911 . "
)


class Checkpoint:
    """A model as a plugin would write it: a directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tokenizer(self) -> PreTrainedTokenizerBase:
        from transformers import AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.folder)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def load(self, auto_class: type[Any], **config: Any) -> PreTrainedModel:
        model: PreTrainedModel = auto_class.from_pretrained(self.folder, **config)
        return model

    def max_length(self) -> int | None:
        return 256

    def describe(self) -> dict[str, Any]:
        return {"path": str(self.folder)}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slower on several threads, and far slower on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# transformers has no question answering with EuroBERT.
@pytest.fixture(scope="module", params=[one for one in FAMILIES if one != "eurobert"])
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    family: Family = request.param
    return Checkpoint(tiny_checkpoint(family, tmp_path_factory.mktemp(family)))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint(tiny_checkpoint("bert", tmp_path_factory.mktemp("bert")))


def row(
    question: str, answer: str | None, context: str = CONTEXT, name: str = "q1"
) -> dict[str, Any]:
    """Make a row; the answer is searched in the context."""
    found = (
        {"text": [], "answer_start": []}
        if answer is None
        else {"text": [answer], "answer_start": [context.index(answer)]}
    )
    return {"id": name, "title": "mill", "question": question, "context": context, "answers": found}


ROWS = [
    row("when was it built ?", "1803", CONTEXT * 6, "long"),
    row("who built it ?", "two brothers", name="who"),
    row("who burnt it ?", None, name="none"),
]


def encode(
    head: ExtractiveQAHead,
    rows: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    targets: bool,
) -> list[dict[str, Any]]:
    """Encode rows and return one dict per window."""
    columns = head.encode(
        {key: [one[key] for one in rows] for key in rows[0]},
        tokenizer,
        EncodeSettings(max_length=96, stride=16, targets=targets),
    )
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def predict(
    head: ExtractiveQAHead,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    batch: int,
) -> list[list[Any]]:
    """Return the records of every row."""
    import torch

    features = encode(head, rows, tokenizer, targets=False)
    records: list[list[Any]] = [[] for _ in rows]
    for start in range(0, len(features), batch):
        part = features[start : start + batch]
        with torch.no_grad():
            reduced = head.reduce(model(**head.collate(part, tokenizer)), part)
        for feature, record in zip(part, reduced, strict=True):
            records[feature["row"]].append(record)
    return records


def test_a_batch_gives_the_answers_of_its_rows_one_by_one(checkpoint: Checkpoint) -> None:
    head, tokenizer = ExtractiveQAHead(), checkpoint.tokenizer()
    model = head.build(checkpoint, (), seed=1)
    together, alone = (predict(head, model, tokenizer, ROWS, batch) for batch in (8, 1))
    assert len(together[0]) > 1
    for one, a, b in zip(ROWS, together, alone, strict=True):
        for left, right in zip(a, b, strict=True):
            assert left["null"] == pytest.approx(right["null"], abs=1e-5)
            assert left["score"].tolist() == pytest.approx(right["score"].tolist(), abs=1e-5)
        first, second = head.decode(one, a, {}, ()), head.decode(one, b, {}, ())
        assert {key: first[key] for key in ("id", "answer", "start", "end")} == {
            key: second[key] for key in ("id", "answer", "start", "end")
        }
        assert first["answer"] == one["context"][first["start"] : first["end"]] != ""


def test_a_tokenizer_that_pads_left_changes_nothing(checkpoint: Checkpoint) -> None:
    import torch

    head, tokenizer = ExtractiveQAHead(), checkpoint.tokenizer()
    features = encode(head, ROWS, tokenizer, targets=True)
    right = head.collate(features, tokenizer)
    tokenizer.padding_side = "left"
    left = head.collate(features, tokenizer)
    assert (
        right.keys()
        == left.keys()
        >= {"input_ids", "attention_mask", "start_positions", "end_positions"}
    )
    assert all(torch.equal(right[key], left[key]) for key in right)


def test_new_weights_follow_from_the_seed(bert: Checkpoint) -> None:
    import torch

    head = ExtractiveQAHead()
    one, same, other = (
        head.build(bert, (), seed=seed).state_dict()["qa_outputs.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_tiny_model_learns_answers_and_their_absence_and_is_a_plain_checkpoint(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForQuestionAnswering

    head, tokenizer = ExtractiveQAHead(), checkpoint.tokenizer()
    model = head.build(checkpoint, (), seed=0)
    batch = head.collate(encode(head, ROWS, tokenizer, targets=True), tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    records = predict(head, loaded, tokenizer, ROWS, 8)
    state = head.calibrate(ROWS, records, [])
    answers = {
        one["id"]: head.decode(one, windows, state, ())["answer"]
        for one, windows in zip(ROWS, records, strict=True)
    }
    assert answers == {"long": "1803", "who": "two brothers", "none": ""}


def records_of(null: float, score: float) -> list[Any]:
    """Make one window whose only span is `mill`, characters 8 to 12 of the context."""
    import numpy as np

    return [
        {"null": null, "score": np.array([score]), "start": np.array([8]), "end": np.array([12])}
    ]


@pytest.mark.parametrize(
    ("option", "state", "answer"),
    [
        (None, {}, "mill"),
        (None, {"no_answer_threshold": 1.5}, ""),
        (None, {"no_answer_threshold": 2.0}, "mill"),
        (0.0, {"no_answer_threshold": 9.0}, ""),
        (9.0, {}, "mill"),
    ],
)
def test_the_threshold_of_the_options_goes_before_the_tuned_one_and_without_any_there_is_always_an_answer(
    option: float | None, state: State, answer: str
) -> None:
    head = ExtractiveQAHead(ExtractiveQAOptions(threshold=option))
    prediction = head.decode(row("what ?", "mill"), records_of(5.0, 3.0), state, ())
    assert prediction["answer"] == answer
    assert (prediction["start"], prediction["end"]) == ((8, 12) if answer else (None, None))
    assert (prediction["no_answer_score"], prediction["best_answer"]) == (2.0, "mill")
    assert prediction["score"] == pytest.approx(0.1192029 if answer else 0.8807971)
    assert json.loads(json.dumps(prediction)) == prediction


def test_tuning_needs_questions_without_an_answer() -> None:
    rows: list[Row] = [row("what ?", "mill"), row("what else ?", None)]
    records = [records_of(0.0, 3.0), records_of(5.0, 3.0)]
    assert ExtractiveQAHead().calibrate(rows[:1], records[:1], []) == {}
    assert ExtractiveQAHead().calibrate([], [], []) == {}
    assert ExtractiveQAHead().calibrate(rows, records, []) == {"no_answer_threshold": -0.5}
    assert ExtractiveQAHead(ExtractiveQAOptions(threshold=0.25)).calibrate(
        rows[:1], records[:1], []
    ) == {"no_answer_threshold": 0.25}


def test_predictions_go_into_the_metric() -> None:
    head = ExtractiveQAHead()
    rows = [row("what ?", "mill"), row("what else ?", None, name="q2")]
    state: State = {"no_answer_threshold": 0.0}
    predictions = [
        head.decode(one, records, state, ())
        for one, records in zip(rows, (records_of(0, 3), records_of(5, 3)), strict=True)
    ]
    scores = squad(**head.score_inputs(rows, predictions, ()))
    assert (scores["exact"], scores["f1"], scores["HasAns_total"], scores["NoAns_total"]) == (
        100.0,
        100.0,
        1,
        1,
    )


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({}, None),
        ({"answers": None}, None),
        ({"answers": {"text": [], "answer_start": []}}, None),
        ({"question": " \n"}, "empty question"),
        ({"question": None}, "empty question"),
        ({"context": ""}, "empty context"),
        ({"answers": "1803"}, "answers are not {text, answer_start}"),
        (
            {"answers": {"text": ["1803"], "answer_start": []}},
            "answers are not {text, answer_start}",
        ),
        (
            {"answers": {"text": "1803", "answer_start": [3]}},
            "answers are not {text, answer_start}",
        ),
        ({"answers": {"text": [" "], "answer_start": [3]}}, "empty answer"),
        (
            {"answers": {"text": ["1803"], "answer_start": [3]}},
            "answer_start does not point at the answer",
        ),
        (
            {"answers": {"text": ["1803"], "answer_start": [-3]}},
            "answer_start does not point at the answer",
        ),
        (
            {"answers": {"text": ["1803"], "answer_start": [None]}},
            "answer_start does not point at the answer",
        ),
        (
            {"answers": {"text": ["1803", "mill"], "answer_start": [CONTEXT.index("1803"), 0]}},
            "answer_start does not point at the answer",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_cause(
    change: dict[str, Any], cause: str | None
) -> None:
    assert ExtractiveQAHead().check(row("when ?", "1803") | change) == cause


def test_rows_without_answers_can_be_encoded_for_prediction(bert: Checkpoint) -> None:
    plain = {key: value for key, value in ROWS[1].items() if key in ("id", "question", "context")}
    assert encode(ExtractiveQAHead(), [plain], bert.tokenizer(), targets=False)[0]["offset_end"]


def test_a_tokenizer_without_pad_token_is_refused() -> None:
    with pytest.raises(ModelError, match="has no pad token: set `pad_token` on it"):
        ExtractiveQAHead().collate([{"input_ids": [1, 2]}], tiny_tokenizer("gpt2"))


def test_the_head_imports_nothing_heavy() -> None:
    code = (
        "import sys, ftr_plugins.extractive_qa.head; print(sorted({'torch', 'transformers', "
        "'datasets', 'evaluate'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_outcomes_are_answers_beside_all_that_is_right() -> None:
    row: Row = {
        "id": "a",
        "context": CONTEXT,
        "question": "who built it ?",
        "answers": {"text": ["two brothers", "by two brothers"], "answer_start": [48, 45]},
    }
    unanswerable: Row = {**row, "id": "b", "answers": {"text": [], "answer_start": []}}
    given = {"id": "a", "answer": "brothers", "score": 0.25}
    nothing = {"id": "b", "answer": "", "score": 0.75}
    part, right, wrong = ExtractiveQAHead().outcomes(
        [row, unanswerable, unanswerable], [given, nothing, {**given, "id": "b"}], ()
    )
    assert (part.predicted, part.expected) == ("brothers", "two brothers | by two brothers")
    assert part.error == pytest.approx(1 / 3) and part.confidence == 0.25
    assert right.right and right.predicted == right.expected == "(no answer)"
    assert wrong.error == 1.0 and wrong.expected == "(no answer)"
