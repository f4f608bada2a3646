"""The public example scripts run_glue.py and run_qa.py, and a loop written by hand.

`--way shipped`: `transformers.Trainer` as the scripts have it: fp32, every input padded to the
maximal length, random order, and the defaults of `TrainingArguments` for all else. `--way best`:
with their best flags: bf16 where asked for, batches of like length, padded to their longest.
`--way loop`: no trainer, the arithmetic of ftr (`plain_loop.py`). `throughput.py` runs it as a
process of its own; it prints one JSON object as the last line of stdout.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset  # noqa: TID253 (a process that only trains)
from transformers import (  # noqa: TID253
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from ftr.train.hardware import device_name
from ftr_plugins.classification.metrics import accuracy
from ftr_plugins.extractive_qa.metrics import squad
from plain_loop import Loop

N_BEST = 20
MAX_ANSWER_LENGTH = 30


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is not checked
    """Measures the training loop: no evaluation and no checkpoint is written in it."""

    seconds = processor = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start."""
        self.began = time.monotonic(), time.process_time()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop."""
        self.seconds = time.monotonic() - self.began[0]
        self.processor = time.process_time() - self.began[1]


def main() -> None:
    """Train, score, and print what was measured."""
    args = arguments()
    set_seed(args.seed)
    raw = load_dataset("json", data_files={"train": args.train, "validation": args.validation})
    training, trainer, score = (
        question_answering if "context" in raw["train"].column_names else classification
    )(args, raw)
    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    measured = {
        "rows": len(raw["train"]),
        "windows": len(training),
        "tokens": sum(map(sum, training["attention_mask"])),
        "steps": trainer.state.global_step,
        "seconds": clock.seconds,
        "processor_seconds": clock.processor,
        "scores": score(),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(measured))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=("shipped", "best", "loop"), default="shipped")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    for name, kind in (("model", str), ("train", str), ("validation", str), ("output-dir", str)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("batch-size", "max-length", "stride", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("learning-rate", "epochs"):
        parser.add_argument(f"--{name}", type=float, required=True)
    return parser.parse_args()


def trainer_of(args: argparse.Namespace, model: Any, tokenizer: Any, training: Dataset) -> Any:
    """Return the trainer: what the scripts' command line would set, and no checkpoints."""
    if args.way == "loop":
        return Loop(args, model, tokenizer, training)
    best: dict[str, Any] = {
        "bf16": args.precision == "bf16",
        "train_sampling_strategy": "group_by_length",
        "torch_compile": args.compile,
        "use_cpu": device_name() == "cpu",
    }
    settings = TrainingArguments(
        output_dir=args.output_dir,
        per_device_train_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        num_train_epochs=args.epochs,
        seed=args.seed,
        save_strategy="no",
        report_to="none",
        **(best if args.way == "best" else {}),
    )
    return Trainer(
        model=model,
        args=settings,
        train_dataset=training,
        processing_class=tokenizer,
        data_collator=(
            DataCollatorWithPadding(tokenizer) if args.way == "best" else default_data_collator
        ),
    )


def classification(args: argparse.Namespace, raw: Any) -> tuple[Dataset, Trainer, Any]:
    """Set up run_glue.py."""
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=len(set(raw["train"]["label"]))
    )

    def encode(rows: Any) -> Any:
        return tokenizer(
            rows["text"], padding=padding(args), max_length=args.max_length, truncation=True
        )

    encoded = raw.map(encode, batched=True)
    trainer = trainer_of(args, model, tokenizer, encoded["train"])

    def score() -> dict[str, float]:
        logits = trainer.predict(encoded["validation"]).predictions
        found = np.argmax(logits, axis=1).tolist()
        return {"accuracy": accuracy(found, list(raw["validation"]["label"]))}

    return encoded["train"], trainer, score


def question_answering(args: argparse.Namespace, raw: Any) -> tuple[Dataset, Trainer, Any]:
    """Set up run_qa.py."""
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForQuestionAnswering.from_pretrained(args.model)
    windows = {
        "tokenizer": tokenizer,
        "max_length": args.max_length,
        "stride": args.stride,
        "padding": padding(args),
    }
    names = raw["train"].column_names
    training = raw["train"].map(
        training_features, batched=True, remove_columns=names, fn_kwargs=windows
    )
    validation = raw["validation"].map(
        validation_features, batched=True, remove_columns=names, fn_kwargs=windows
    )
    trainer = trainer_of(args, model, tokenizer, training)

    def score() -> dict[str, float]:
        logits = trainer.predict(
            validation.remove_columns(["example_id", "offset_mapping"])
        ).predictions
        answers = best_answers(raw["validation"], validation, logits)
        references = [{"id": row["id"], "answers": row["answers"]} for row in raw["validation"]]
        predictions = [
            {"id": key, "prediction_text": text, "no_answer_probability": 0.0}
            for key, text in answers.items()
        ]
        scores = squad(predictions, references)
        return {key: scores[key] for key in ("exact", "f1")}

    return training, trainer, score


def padding(args: argparse.Namespace) -> str | bool:
    """Return how inputs are padded when they are encoded: at once, or later by the batch."""
    return "max_length" if args.way == "shipped" else False


def tokenized(rows: Any, tokenizer: Any, padding: str | bool, **windows: int) -> Any:
    """Cut questions with their contexts into windows."""
    return tokenizer(
        [question.lstrip() for question in rows["question"]],
        rows["context"],
        truncation="only_second",
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=padding,
        **windows,
    )


def training_features(rows: Any, tokenizer: Any, **windows: Any) -> Any:
    """Return windows with the positions of the answer, or of [CLS] where a window does not hold
    it.
    """
    encoded = tokenized(rows, tokenizer, **windows)
    sample = encoded.pop("overflow_to_sample_mapping")
    offsets = encoded.pop("offset_mapping")
    encoded["start_positions"], encoded["end_positions"] = [], []
    for window, spans in enumerate(offsets):
        null = encoded["input_ids"][window].index(tokenizer.cls_token_id)
        answers = rows["answers"][sample[window]]
        start, end = positions(spans, encoded.sequence_ids(window), answers, null)
        encoded["start_positions"].append(start)
        encoded["end_positions"].append(end)
    return encoded


def positions(spans: Any, sequences: list[int | None], answers: Any, null: int) -> tuple[int, int]:
    """Return the first and last token of the answer, found as run_qa.py finds them."""
    if not answers["answer_start"]:
        return null, null
    begin = answers["answer_start"][0]
    stop = begin + len(answers["text"][0])
    first = sequences.index(1)
    last = len(sequences) - 1 - sequences[::-1].index(1)
    if not (spans[first][0] <= begin and spans[last][1] >= stop):
        return null, null
    while first < len(spans) and spans[first][0] <= begin:
        first += 1
    while spans[last][1] >= stop:
        last -= 1
    return first - 1, last + 1


def validation_features(rows: Any, tokenizer: Any, **windows: Any) -> Any:
    """Return windows with the id of their question and the offsets of the tokens of the context."""
    encoded = tokenized(rows, tokenizer, **windows)
    sample = encoded.pop("overflow_to_sample_mapping")
    encoded["example_id"] = [rows["id"][number] for number in sample]
    encoded["offset_mapping"] = [
        [
            span if sequence == 1 else None
            for span, sequence in zip(spans, encoded.sequence_ids(window), strict=True)
        ]
        for window, spans in enumerate(encoded["offset_mapping"])
    ]
    return encoded


def best_answers(rows: Any, windows: Any, logits: tuple[Any, Any]) -> dict[str, str]:
    """Return the best span of each question, as `postprocess_qa_predictions` of the scripts does
    for SQuAD v1.1.
    """
    by_question = defaultdict(list)
    for index, name in enumerate(windows["example_id"]):
        by_question[name].append(index)
    offsets = windows["offset_mapping"]
    answers = {}
    for row in rows:
        best, text = float("-inf"), ""
        for index in by_question[row["id"]]:
            for score, start, end in spans_of(logits[0][index], logits[1][index], offsets[index]):
                if score > best:
                    best, text = score, row["context"][start:end]
        answers[row["id"]] = text
    return answers


def spans_of(starts: Any, ends: Any, offsets: Any) -> list[tuple[float, int, int]]:
    """Return score and character offsets of the allowed pairs among the best starts and ends of one
    window.
    """
    found = []
    for start in np.argsort(starts)[-1 : -N_BEST - 1 : -1].tolist():
        for end in np.argsort(ends)[-1 : -N_BEST - 1 : -1].tolist():
            outside = max(start, end) >= len(offsets) or not offsets[start] or not offsets[end]
            if outside or end < start or end - start + 1 > MAX_ANSWER_LENGTH:
                continue
            found.append((float(starts[start] + ends[end]), offsets[start][0], offsets[end][1]))
    return found


if __name__ == "__main__":
    main()
