"""The model card of a run: what was trained on what, and how it scored, as Markdown."""

from __future__ import annotations

import time
from typing import Any

from ftr.runs.table import score_table


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
        "`model/` is a plain Hugging Face checkpoint; `run.json` has the whole configuration, versions and hashes of the data.",
    ]
    if record["config"]["model"]["options"].get("trust_remote_code"):
        lines.append("\n**Code that came with the checkpoint was run (`model.trust_remote_code=true`).**")
    return "\n".join(lines) + "\n"
