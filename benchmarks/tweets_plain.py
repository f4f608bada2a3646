"""The recipe that many start from, literally: tweets padded to the model's maximum, batches of one,
gradients of four added up.

One training as a process of its own; prints one line of JSON. `tweets.py` sets it beside `ftr run`.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars  # noqa: TID253 (a process that only trains)
from transformers import (  # noqa: TID253
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("train", "test", "model", "output_dir"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument(
        "--unpadded",
        action="store_true",
        help="the same without padding, which is a matter of speed alone",
    )
    args = parser.parse_args()
    disable_progress_bars()

    dataset = {split: Dataset.from_list(rows(getattr(args, split))) for split in ("train", "test")}
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token

    def tokenize_function(examples: dict[str, Any]) -> Any:
        return tokenizer(
            examples["text"], padding=False if args.unpadded else "max_length", truncation=True
        )

    tokenized_datasets = {
        split: part.map(tokenize_function, batched=True) for split, part in dataset.items()
    }
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=3, pad_token_id=tokenizer.pad_token_id
    )

    def compute_metrics(eval_pred: Any) -> Any:
        logits, labels = eval_pred
        return {"accuracy": accuracy(np.argmax(logits, axis=-1).tolist(), labels.tolist())}

    training_args = TrainingArguments(
        output_dir=str(args.output_dir),
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=4,
        # All else is as the library ships it, but for what prints, saves and seeds.
        num_train_epochs=args.epochs,
        seed=args.seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=training_args,
        train_dataset=tokenized_datasets["train"],
        eval_dataset=tokenized_datasets["test"],
        compute_metrics=compute_metrics,
    )
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    began = time.monotonic()
    accuracy = trainer.evaluate()["eval_accuracy"]
    found = {
        "rows": len(tokenized_datasets["train"]),
        "epochs": args.epochs,
        "length": len(tokenized_datasets["train"][0]["input_ids"]),
        "steps": trainer.state.global_step,
        "seconds": seconds,
        "seconds_of_evaluation": time.monotonic() - began,
        "accuracy": accuracy,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
    }
    print(json.dumps(found), flush=True)


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
