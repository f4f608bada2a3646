"""Several checkpoints asked as one: how they lie in one model directory, and the engine over all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.errors import ModelError
from ftr.train.checkpoint import link_files
from ftr.train.export import ModelCard, read_card, write_card
from ftr.train.inference import Engine
from ftr.train.pretrained import Pretrained
from ftr.train.ready import ready

if TYPE_CHECKING:
    from ftr.protocols import Head, Prediction, State
    from ftr.train.hardware import Numerics
    from ftr.train.inference import EncodedSplit
    from ftr.train.scoring import Scorer, Scores

ENSEMBLE_JSON = "ensemble.json"
MEMBERS = "members"
FORMAT = 1


def member_folders(folder: Path) -> list[Path]:
    """Return the plain checkpoints of a model directory: `members/0`, `members/1`, ... of an ensemble, else the directory itself.

    Raises `ModelError` naming what is damaged or missing.
    """
    path = folder / ENSEMBLE_JSON
    if not path.is_file():
        return [folder]
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known, count = record["format"], len(record["members"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"`{path}` is damaged ({error}): restore the file.") from error
    if known != FORMAT:
        raise ModelError(f"`{path}` has format {known!r}, this version of ftr reads {FORMAT}.")
    folders = [folder / MEMBERS / str(number) for number in range(count)]
    for member in folders or [folder / MEMBERS]:
        if not (member / "config.json").is_file():
            raise ModelError(
                f"the ensemble `{folder}` has no member `{member.relative_to(folder)}`: restore it, or build the ensemble anew."
            )
    return folders


def write_ensemble(folder: Path, checkpoints: Sequence[Path], described: Sequence[dict[str, Any]]) -> None:
    """Make `folder` an ensemble of `checkpoints`, linked where the file system has links; `described` says of each what it is.

    The card is that of the first.
    """
    for number, checkpoint in enumerate(checkpoints):
        link_files(checkpoint, folder / MEMBERS / str(number))
    write_card(folder, read_card(checkpoints[0]))
    atomic.write_json(folder / ENSEMBLE_JSON, {"format": FORMAT, "members": list(described)})


def load_engine(folders: Sequence[Path], head: Head, card: ModelCard, numerics: Numerics) -> Engine:
    """Load trained checkpoints, the first with its tokenizer, into one engine. Raises `ModelError`, `PluginError`."""
    sources = [Pretrained(str(folder), complete=True) for folder in folders]
    models = [ready(head.build(source, card.labels, 0), numerics).eval() for source in sources]
    return Engine(
        model=models[0],
        head=head,
        tokenizer=sources[0].tokenizer(),
        labels=card.labels,
        precision=numerics.precision,
        others=tuple(models[1:]),
    )


def judge(engine: Engine, split: EncodedSplit, scorer: Scorer, state: State | None = None) -> tuple[list[Prediction], Scores, State]:
    """Return predictions, scores and state of an encoded split; without `state` the head tunes it on these rows."""
    rows = split.rows.to_list()
    records = engine.records(split)
    used = engine.head.tune(rows, records) if state is None else state
    predictions = engine.decode(rows, records, used)
    return predictions, scorer.score(engine.head, rows, predictions, engine.labels), used
