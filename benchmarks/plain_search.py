"""A plain `Trainer.hyperparameter_search` as the documentation of transformers shows it:
`model_init`, no checkpoints.

`sweep.py` runs it as a process of its own; it leaves what it measured in `measured.json`. Both
backends try the same list of configurations: Ray by `tune.grid_search` over both keys, Optuna by
its `GridSampler`. Ray is started before the search, so that its start does not count as part of it.

A trial begins when `model_init` is called and ends with its training. What lies between the
beginning and the end of the training loop counts as training and evaluation; so does reporting to
the backend, which this side cannot tell apart.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import load_dataset  # noqa: TID253 (a process that only trains)
from transformers import (  # noqa: TID253
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from ftr_plugins.classification.metrics import accuracy


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is not checked
    """Appends a line for each trial to a file: Ray's trials run in processes of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = self.loop = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start."""
        self.loop = time.time()

    def on_train_end(self, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        """Stop."""
        now = time.time()
        found = {
            "began": self.began,
            "ended": now,
            "seconds": now - self.loop,
            "steps": state.global_step,
            "values": {
                "learning_rate": args.learning_rate,
                "batch_size": args.per_device_train_batch_size,
            },
            "process": os.getpid(),
        }
        with self.path.open("a") as lines:
            lines.write(json.dumps(found) + "\n")


def main() -> None:
    """Search, and write down what was measured."""
    args = arguments()
    clock = Clock(args.output_dir / "clock.jsonl")
    trainer = trainer_of(args, clock)
    grid = {"learning_rate": args.learning_rates, "per_device_train_batch_size": args.batch_sizes}
    search = {"ray": with_ray, "optuna": with_optuna}[args.backend](grid, args)
    began = time.time()
    best = trainer.hyperparameter_search(
        direction="maximize",
        backend=args.backend,
        compute_objective=lambda scores: scores["eval_accuracy"],
        **search,
    )
    measured = {
        "search": time.time() - began,
        "score": best.objective,
        "trials": [
            json.loads(line) for line in clock.path.read_text(encoding="utf-8").splitlines()
        ],
        "checkpoints": len(list(args.output_dir.rglob("model.safetensors"))),
    }
    # Not on stdout: Ray prints what its processes say there, as it comes.
    (args.output_dir / "measured.json").write_text(json.dumps(measured), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("backend", choices=("ray", "optuna"))
    for name, kind in (("model", str), ("train", str), ("validation", str), ("output-dir", Path)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("max-length", "epochs", "slots", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--learning-rates", type=float, nargs="+", required=True)
    parser.add_argument("--batch-sizes", type=int, nargs="+", required=True)
    return parser.parse_args()


def trainer_of(args: argparse.Namespace, clock: Clock) -> Trainer:
    """Return the trainer: evaluation after each epoch, no checkpoints, the defaults of
    `TrainingArguments` for all else.
    """
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    raw = load_dataset("json", data_files={"train": args.train, "validation": args.validation})
    data = raw.map(
        lambda rows: tokenizer(rows["text"], truncation=True, max_length=args.max_length),
        batched=True,
    )
    model = args.model

    def model_init() -> Any:
        clock.began = time.time()
        return AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)

    def compute_metrics(predicted: Any) -> dict[str, float]:
        found = np.argmax(predicted.predictions, axis=1).tolist()
        return {"accuracy": accuracy(found, predicted.label_ids.tolist())}

    settings = TrainingArguments(
        output_dir=str(args.output_dir / "trainer"),
        num_train_epochs=args.epochs,
        seed=args.seed,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
    )
    return Trainer(
        args=settings,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
        model_init=model_init,
        callbacks=[clock],
    )


def with_ray(grid: dict[str, list[Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a search of the grid with Ray Tune, each trial on one core, as many
    at once as there are slots.
    """
    import ray
    from ray import tune

    ray.init(address="local")
    return {
        "hp_space": lambda _: {key: tune.grid_search(values) for key, values in grid.items()},
        "n_trials": 1,  # of the whole grid
        "resources_per_trial": {"cpu": 1},
        "max_concurrent_trials": args.slots,
        "storage_path": str(args.output_dir / "ray"),
    }


def with_optuna(grid: dict[str, list[Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a search of the grid with Optuna: one trial after the other, on all
    slots' cores.
    """
    import optuna
    import torch

    torch.set_num_threads(args.slots)
    return {
        "hp_space": lambda trial: {
            key: trial.suggest_categorical(key, values) for key, values in grid.items()
        },
        "n_trials": int(np.prod([len(values) for values in grid.values()])),
        "sampler": optuna.samplers.GridSampler(grid, seed=args.seed),
    }


if __name__ == "__main__":
    main()
