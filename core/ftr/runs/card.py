"""The model card of a run: what was trained on what, and how it scored, as Markdown."""

from __future__ import annotations

import time
from typing import Any

from ftr.runs.table import score_table


def _kept(record: dict[str, Any]) -> str:
    """Return what `model/` is."""
    lora = record["config"]["train"].get("lora") or {}
    if not lora.get("rank") or lora.get("merge"):
        return "`model/` is a plain Hugging Face checkpoint"
    labels = f", num_labels={len(record['labels'])}" if record["labels"] else ""
    return (
        f"`model/` has the head and low-rank adapters for `{record['config']['model']['name']}`, as `peft` writes them "
        f'(`from_pretrained("model"{labels})` of a model class of `peft` or transformers loads both)'
    )


def model_card(record: dict[str, Any]) -> str:
    """Return the README of a finished run. No text of the data appears in it."""
    config, numerics = record["config"], record["numerics"]
    settings = (
        f"learning rate {config['learning_rate']:g}, batch size {config['batch_size']}, {config['epochs']:g} epochs, seed {config['seed']}"
    )
    trained = f"{record['trainable_parameters']:,} of {record['parameters']:,} parameters"
    day = time.strftime("%Y-%m-%d", time.gmtime(record["created"]))
    lines = [
        f"# {config['task'] or config['head']['name']}: {config['model']['name']} fine-tuned with ftr {record['ftr']}",
        "",
        f"- head `{config['head']['name']}`, dataset `{config['dataset']['name']}`",
        f"- {settings}",
        f"- {trained} trained, {numerics['precision']} on {numerics['device']}, {record['workers']} process(es)",
        f"- kept: the weights after epoch {record['best']['epoch']:.2f}",
        f"- trained {day} in {record['timings']['train']:.0f} s, {record['examples_per_second']:.1f} examples/s",
        "",
        "## Data",
        "",
        "| split | rows | examples |",
        "|---|---|---|",
        *(f"| {name} | {split['row_count']} | {split['feature_count']} |" for name, split in record["data"]["splits"].items()),
        "",
        "## Scores",
        "",
        *score_table(record, markdown=True),
        "",
        f"{_kept(record)}; `run.json` has the whole configuration, versions and hashes of the data.",
    ]
    if record["config"]["model"]["options"].get("trust_remote_code"):
        lines.append("\n**Code that came with the checkpoint was run (`model.trust_remote_code=true`).**")
    return "\n".join(lines) + "\n"
