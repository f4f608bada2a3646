"""What a finished run says of itself: `README.md` of its directory, and inside `model/` the model
card of the Hub and `usage.py`. None of them quotes a text of the data.

What is in `model/` has neither times nor paths: a run that was resumed leaves the same files as one
that was not, and they may be published.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.config.components import HUB_ID
from ftr.config.schema import HUB, Component
from ftr.errors import counted, in_one_line
from ftr.model.adapters import ADAPTER_CONFIG, TASKS, base_of, is_adapter, settings_of
from ftr.model.components import make_head
from ftr.model.folder import FTR_JSON, ModelCard, read_card
from ftr.model.pretrained import Pretrained
from ftr.registry.protocols import CALIBRATION, provides
from ftr.registry.registry import Registry
from ftr.registry.specs import OTHER_AVERAGES
from ftr.runs.report import (
    JOIN,
    REMOTE,
    Described,
    Record,
    described,
    plain_name,
    run_card,
    sections,
)
from ftr.terminal import mask, show

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

README, USAGE = "README.md", "usage.py"
PLACE = "path/to/model"
"""Stands for the model in the snippets of a card; `ftr push` puts its name on the Hub there."""
PIPELINES = {
    "ForSequenceClassification": "text-classification",
    "ForQuestionAnswering": "question-answering",
    "ForTokenClassification": "token-classification",
}
"""Pipeline tag of the Hub by the end of the name of a model class."""
ROWS = {
    "text-classification": '"A text."',
    "question-answering": '{"question": "A question?", "context": "A passage."}',
    "token-classification": '{"tokens": ["Some", "words"]}',
}
FEW = 1000
"""Held-out rows below which a card says that there are few: the 95 % interval of a share is then
wider than about 3 points to either side.
"""
MOST_LABELS = 100
"""Labels that a card lists; `config.json` has all."""


def write_cards(folder: Path, record: Record, registry: Registry) -> None:
    """Write `README.md` of a finished run or an ensemble in `folder`, and where it has a model the
    card and `usage.py` beside it.
    """
    model = folder / "model"
    if (model / FTR_JSON).is_file():
        text = _usage(model, registry)
        if text is not None:
            atomic.write_text(model / USAGE, text)
        atomic.write_text(model / README, model_card(record, model))
    atomic.write_text(folder / README, run_card(record))


def has_cards(folder: Path) -> bool:
    """Whether what `write_cards` writes is there."""
    models = [folder / "model"] if (folder / "model" / FTR_JSON).is_file() else []
    return all((place / README).is_file() for place in (folder, *models))


def model_card(record: Record, model: Path) -> str:
    """Return the card of the model in the directory `model`, with the metadata of the Hub.

    Raises `ValueError` where `huggingface_hub` refuses the metadata.
    """
    from huggingface_hub import ModelCard as HubCard

    about, kind = described(record), Kind.of(model)
    lines = [
        f"# {about.title}",
        "",
        *_purpose(record, kind),
        *sections({"Use": list(_use(kind)), **about.sections}),
        *sections({"Training": [f"- {fact}" for fact in _training(record, about)]}),
        *sections({"Limits": [f"- {limit}" for limit in _limits(record, kind)]}),
    ]
    metadata = _metadata(record, kind, about.title)
    text = f"---\n{metadata.to_yaml()}\n---\n\n{chr(10).join(lines)}\n"
    HubCard(text)  # refuses what the Hub would refuse
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is in a model directory: what `ftr.json` says, the pipeline of the Hub that it is for,
    how many checkpoints it has, and whether these are adapters.
    """

    card: ModelCard
    pipeline: str | None
    problem: str | None
    adapters: bool
    members: int
    usage: bool

    @classmethod
    def of(cls, model: Path) -> Kind:
        """Look at the files of a model directory."""
        from ftr.train.ensemble import ENSEMBLE_JSON, member_folders

        folders = member_folders(model)
        settings, adapters = settings_of(folders[0]), is_adapter(folders[0])
        names = [str(name) for name in settings.get("architectures") or ()]
        if adapters:
            task = atomic.read_json(folders[0] / ADAPTER_CONFIG).get("task_type")
            names = [name for name, one in TASKS.items() if one == task]
        ends = [tag for end, tag in PIPELINES.items() if names and names[0].endswith(end)]
        return cls(
            card=read_card(model),
            pipeline=ends[0] if ends else None,
            problem=settings.get("problem_type"),
            adapters=adapters,
            members=len(folders) if (model / ENSEMBLE_JSON).is_file() else 0,
            usage=(model / USAGE).is_file(),
        )


def _usage(model: Path, registry: Registry) -> str | None:
    """Return `usage.py` of a model of one checkpoint, if its head gives one.

    Texts that were cleaned need ftr. What the head raises is printed: the model is trained.
    """
    card = read_card(model)
    if card.cleaner or Kind.of(model).members:
        return None
    try:
        head = make_head(registry, Component(name=card.head, options=card.head_options))
        if not provides(head, "usage"):
            return None
        return head.usage(Pretrained(str(model)).tokenizer())
    except Exception as error:
        show(f"ftr: head `{card.head}` gives no `{USAGE}`: {in_one_line(error)}")
        return None


def _purpose(record: Record, kind: Kind) -> Iterator[str]:
    """Yield what the model is: its task, its base and its labels."""
    base, task = _base(record), kind.pipeline or f"head `{kind.card.head}`"
    source = "a checkpoint that is not on the Hub"
    if base is not None:
        revision = f" at revision `{base[1]}`" if base[1] else ""
        source = f"`{base[0]}`{revision}"
    made = "Adapters for" if kind.adapters else "A fine-tuned version of"
    if kind.members:
        made = f"{kind.members} models that answer as one, each a fine-tuned version of"
    yield f"{made} {source}, for {task}. Made with ftr {record['ftr']}."
    labels = kind.card.labels
    if labels:
        more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
        yield from ("", f"Labels: {', '.join(map(_code, labels[:MOST_LABELS]))}{more}.")


def _code(text: str) -> str:
    """Return text as code in one line of Markdown."""
    shown = " ".join(text.replace("`", "'").split())
    return f"`{shown}`"


def _use(kind: Kind) -> Iterator[str]:
    """Yield how to use the model, with plain transformers where it can be, and with ftr."""
    plain = _plain_use(kind)
    if plain:
        notes = [f"- {line}" for line in _different(kind)]
        yield from ("With transformers alone:", "", "```python", *plain, "```", "")
        yield from ([*notes, ""] if notes else [])
    elif kind.members:
        yield from (f"Each folder of `members/` is a checkpoint of its own; {JOIN}.", "")
    rows = ROWS.get(kind.pipeline or "", "a_row")
    yield from ("With ftr (`pip install ftr`):", "", "```python", "import ftr", "")
    yield from (f'ftr.load("{PLACE}").predict([{rows}])', "```")


def _plain_use(kind: Kind) -> list[str]:
    if kind.members or kind.pipeline is None:
        return []
    if kind.pipeline == "question-answering":
        return [
            "from usage import answer  # usage.py of this folder",
            "",
            'answer("A question?", "A passage.")',
        ] * kind.usage
    options, model = "", f'"{PLACE}"'
    head = ["from transformers import pipeline", ""]
    if kind.adapters:
        auto = next(end for end, tag in PIPELINES.items() if tag == kind.pipeline)
        labels = f", num_labels={len(kind.card.labels) or 1}"
        head = [
            f"from transformers import AutoModel{auto}, AutoTokenizer, pipeline",
            "",
            "# needs the package peft",
            f'model = AutoModel{auto}.from_pretrained("{PLACE}"{labels})',
        ]
        model, options = "model", f', tokenizer="{PLACE}"'
    if kind.pipeline == "token-classification":
        made = f'{model}{options}, aggregation_strategy="first"'
        return [*head, f'tagger = pipeline("{kind.pipeline}", {made})', 'tagger("Some words")']
    if kind.problem == "multi_label_classification":
        options += ", top_k=None"
    if kind.problem == "regression":
        options += ', function_to_apply="none"'
    return [
        *head,
        f'classifier = pipeline("{kind.pipeline}", {model}{options})',
        f'classifier("A text.", truncation=True, max_length={kind.card.max_length})',
        '# two texts: classifier({"text": "A text.", "text_pair": "Another."}, ...)',
    ]


def _different(kind: Kind) -> Iterator[str]:
    """Yield in what the answers of plain transformers are not those of ftr."""
    card, options = kind.card, kind.card.head_options
    if kind.usage:
        yield f"`{USAGE}` gives the answers of ftr, without a score."
    if card.cleaner:
        names = ", ".join(f"`{name}`" for name in card.cleaner.names)
        yield f"ftr cleans texts as those of the training were ({names}); here you do it."
    if options.get("windows"):
        yield f"ftr reads a text of more than {card.max_length} tokens in windows; here it is cut."
    if CALIBRATION in card.state:
        yield f"Confidences of ftr are calibrated (`{FTR_JSON}`); these are not."
    if not kind.usage and card.state.keys() - {CALIBRATION}:
        yield f"ftr decides by the thresholds in `{FTR_JSON}`; here you choose."
    if kind.adapters and card.labels:
        yield f"`LABEL_0` is the first of the labels in `{FTR_JSON}`, and so on."


def _training(record: Record, about: Described) -> Iterator[str]:
    """Yield how it was trained."""
    yield from about.facts
    name, hub_id = _dataset(record)
    yield f"data: `{hub_id or name}`"


def _limits(record: Record, kind: Kind) -> Iterator[str]:
    """Yield what to know before the model is relied on."""
    name, config = _dataset(record)[0], record["config"]
    own = record.get("components", {}).get(f"dataset:{config['dataset']['name']}", {})
    if own.get("distribution") == "ftr" and name.endswith("-sample"):
        yield f"`{name}` is a small sample for trying ftr out: do not use this model for real work."
    heldout = record["heldout"]
    rows = record["data"]["splits"].get(heldout or "", {}).get("row_count", 0)
    if heldout is None:
        yield "There were no held-out rows: nothing is known of how good it is."
    elif heldout == "validation":
        yield (
            "There were no test rows: the scores are of the rows that the best weights, and any "
            "threshold, were chosen on, and are too good."
        )
    if heldout is not None and rows < FEW:
        yield f"The scores are of {counted(rows, 'row')} only; mind the intervals."
    if not kind.card.head_options.get("windows") and kind.pipeline != "question-answering":
        yield f"It reads the first {kind.card.max_length} tokens of a text."
    languages = _model_facts(record).get("languages")
    known = (
        f"of the base model ({languages})" if languages else "of the data, which ftr does not check"
    )
    yield f"Languages: those {known}."
    terms = _model_facts(record).get("license")
    if terms:
        yield f"License: that of the base model, {terms}; the data may have terms of its own."
    else:
        yield "License: ftr does not know that of the base model. Look it up before you share this."
    if config["model"]["options"].get("trust_remote_code"):
        yield REMOTE


def _metadata(record: Record, kind: Kind, title: str) -> Any:
    """Return the metadata of the card, a `huggingface_hub.ModelCardData`."""
    from huggingface_hub import ModelCardData

    config, base, hub_id = record["config"], _base(record), _dataset(record)[1]
    relation = "adapter" if kind.adapters else "finetune"
    library = "ftr" if kind.members else "peft" if kind.adapters else "transformers"
    languages = str(_model_facts(record).get("languages", ""))
    results = list(_results(record, kind))
    return ModelCardData(
        language={"English": "en"}.get(languages, "multilingual" if languages else None),
        license=_model_facts(record).get("license") or "unknown",
        library_name=library,
        base_model=base and base[0],
        datasets=[hub_id] if hub_id else None,
        metrics=[_bare(name) for name in config["metrics"]],
        pipeline_tag=kind.pipeline,
        tags=["ftr", _bare(kind.card.head), *(["ensemble"] if kind.members else [])],
        model_name=title,
        eval_results=results or None,
        base_model_relation=relation if base else None,
        labels=list(kind.card.labels[:MOST_LABELS]) or None,
    )


def _bare(name: str) -> str:
    return name.rpartition(":")[2]


def _results(record: Record, kind: Kind) -> Iterator[EvalResult]:
    """Yield the scores of the model on each split, rounded to six digits."""
    from huggingface_hub import EvalResult

    name, hub_id = _dataset(record)
    for split, scores in _own_scores(record).items():
        for score, value in scores.items():
            if (
                isinstance(value, float)
                and math.isfinite(value)
                and score != "loss"
                and not score.endswith(OTHER_AVERAGES)
            ):
                yield EvalResult(
                    task_type=kind.pipeline or _bare(kind.card.head),
                    dataset_type=hub_id or name,
                    dataset_name=name,
                    dataset_split=split,
                    metric_type=score,
                    metric_value=float(f"{value:.6g}"),
                )


def _own_scores(record: Record) -> Mapping[str, Record]:
    """Return the scores of the model that a record is of, by split: those of a run of several are
    means of its members unless they were joined, and folds validate on rows of their own.
    """
    scores: Mapping[str, Record] = record["scores"]
    if "several" in record and record["joined"] is None:
        best = f"/{record['best_member']}"
        scores = next(one for one in record["members"] if one["path"].endswith(best))["scores"]
    elif record.get("several") == "folds":
        scores = {split: found for split, found in scores.items() if split == "test"}
    return dict(reversed(list(scores.items())))


def _dataset(record: Record) -> tuple[str, str | None]:
    """Return a name of the dataset that is no path, and its id on the Hub where it has one."""
    name = mask(record["config"]["dataset"]["name"])
    if name.startswith(HUB):
        hub_id = name.removeprefix(HUB).partition(":")[0]
        return hub_id, hub_id
    known = record.get("components", {}).get(f"dataset:{name}", {})
    return plain_name(name), known.get("hub_id")


def _base(record: Record) -> tuple[str, str | None] | None:
    """Return id and revision on the Hub of the model that was fine-tuned; None: it is not there."""
    source = record.get("model_source") or {}
    name, revision = base_of(source)
    return (name, revision or source.get("commit")) if HUB_ID.fullmatch(name) else None


def _model_facts(record: Record) -> Record:
    name = f"model:{record['config']['model']['name']}"
    known: Record = record.get("components", {}).get(name, {})
    return known
