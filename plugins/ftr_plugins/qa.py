"""Plugin `qa`: extractive question answering over passages, with questions that may have no
answer.
"""

from ftr.plugin import DatasetSpec, HeadSpec, MetricSpec, TaskSpec, hookimpl

SQUAD_SCORES = tuple(
    f"{rows}{score}" for rows in ("", "HasAns_", "NoAns_") for score in ("exact", "f1", "total")
)


@hookimpl
def ftr_datasets() -> list[DatasetSpec]:
    """Return the question answering datasets."""
    columns = ("id", "title", "context", "question", "answers")
    return [
        DatasetSpec(
            name="squad",
            target="ftr_plugins.hub_datasets:Squad",
            columns=columns,
            hub_id="rajpurkar/squad",
            summary="SQuAD v1.1, every question answerable (hub)",
        ),
        DatasetSpec(
            name="squad-v2",
            target="ftr_plugins.hub_datasets:SquadV2",
            columns=columns,
            hub_id="rajpurkar/squad_v2",
            summary="SQuAD v2.0, with unanswerable questions (hub)",
        ),
        DatasetSpec(
            name="qa-sample",
            target="ftr_plugins.samples:QASample",
            columns=columns,
            summary="a small sample, a third unanswerable (in the package)",
        ),
    ]


@hookimpl
def ftr_heads() -> list[HeadSpec]:
    """Return the head."""
    return [
        HeadSpec(
            name="extractive-qa",
            target="ftr_plugins.extractive_qa.head:ExtractiveQAHead",
            options="ftr_plugins.extractive_qa.options:ExtractiveQAOptions",
            summary="the span of the passage that answers the question, or no answer",
        )
    ]


@hookimpl
def ftr_metrics() -> list[MetricSpec]:
    """Return the metrics."""
    return [
        MetricSpec(
            name="squad",
            target="ftr_plugins.extractive_qa.metrics:squad",
            key="f1",
            summary="exact match and F1, as the SQuAD script",
            scores=SQUAD_SCORES,
        ),
        MetricSpec(
            name="squad_characters",
            target="ftr_plugins.extractive_qa.metrics:squad_characters",
            key="characters_f1",
            summary="the same, with characters for words in scripts without spaces",
            scores=tuple(f"characters_{score}" for score in SQUAD_SCORES),
        ),
    ]


@hookimpl
def ftr_tasks() -> list[TaskSpec]:
    """Return the task."""
    return [
        TaskSpec(
            name="qa",
            dataset="qa-sample",
            model="minilm",
            head="extractive-qa",
            metrics=("squad",),
            summary="answer questions from a passage",
            also_called=(
                "question-answering",
                "extractive-qa",
                "squad",
                "reading-comprehension",
                "questions",
            ),
            defaults={"learning_rate": 2e-4, "batch_size": 16, "epochs": 3, "data.max_length": 384},
            search_space={
                "learning_rate": "loguniform(5e-5,5e-4)",
                "batch_size": "choice(8,16,32)",
                "epochs": "choice(2,3,4)",
            },
        )
    ]
