"""Plugin `ner`: a tag for every word of a sentence, and the named entities that the tags spell."""

from ftr.plugin import DatasetSpec, HeadSpec, MetricSpec, TaskSpec, hookimpl


@hookimpl
def ftr_datasets() -> list[DatasetSpec]:
    """Return the sample."""
    return [
        DatasetSpec(
            name="ner-sample",
            target="ftr_plugins.samples:NerSample",
            columns=("id", "tokens", "tags"),
            summary="a small sample of sentences in four languages (in the package)",
        )
    ]


@hookimpl
def ftr_heads() -> list[HeadSpec]:
    """Return the head."""
    return [
        HeadSpec(
            name="token-classification",
            target="ftr_plugins.token_classification.head:TokenClassificationHead",
            summary="a tag for every word",
        )
    ]


@hookimpl
def ftr_metrics() -> list[MetricSpec]:
    """Return the metrics."""
    return [
        MetricSpec(
            name="entity_f1",
            target="ftr_plugins.token_classification.metrics:entity_f1",
            summary="F1, precision and recall of whole entities, as seqeval",
        ),
    ]


@hookimpl
def ftr_tasks() -> list[TaskSpec]:
    """Return the task."""
    return [
        TaskSpec(
            name="ner",
            dataset="ner-sample",
            model="minilm",
            head="token-classification",
            metrics=("entity_f1",),
            summary="find the named entities of a text",
            also_called=(
                "token-classification",
                "named-entity-recognition",
                "named-entities",
                "entities",
                "tagging",
                "pos",
            ),
            defaults={"learning_rate": 5e-4, "batch_size": 16, "epochs": 5, "data.max_length": 128},
            search_space={
                "learning_rate": "loguniform(1e-4,1e-3)",
                "batch_size": "choice(8,16,32)",
                "epochs": "choice(3,5,7)",
            },
        )
    ]
