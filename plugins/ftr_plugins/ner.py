"""Plugin `ner`: a tag for every word of a sentence, and the named entities that the tags spell."""

import ftr


@ftr.hookimpl
def ftr_datasets() -> list[ftr.DatasetSpec]:
    """Return the sample."""
    return [
        ftr.DatasetSpec(
            name="ner-sample",
            target="ftr_plugins.samples:NerSample",
            columns=("id", "tokens", "tags"),
            summary="a small sample of sentences in four languages (in the package)",
        )
    ]


@ftr.hookimpl
def ftr_heads() -> list[ftr.HeadSpec]:
    """Return the head."""
    return [
        ftr.HeadSpec(
            name="token-classification",
            target="ftr_plugins.token_classification.head:TokenClassificationHead",
            summary="a tag for every word",
        )
    ]


@ftr.hookimpl
def ftr_metrics() -> list[ftr.MetricSpec]:
    """Return the metrics."""
    return [
        ftr.MetricSpec(
            name="entity_f1",
            target="ftr_plugins.token_classification.metrics:EntityF1",
            summary="F1, precision and recall of whole entities, as seqeval",
        ),
    ]


@ftr.hookimpl
def ftr_tasks() -> list[ftr.TaskSpec]:
    """Return the task."""
    return [
        ftr.TaskSpec(
            name="ner",
            dataset="ner-sample",
            model="minilm",
            head="token-classification",
            metrics=("entity_f1",),
            summary="find the named entities of a text",
            defaults={"learning_rate": 5e-4, "batch_size": 16, "epochs": 5, "data.max_length": 128},
            search_space={
                "learning_rate": "loguniform(1e-4,1e-3)",
                "batch_size": "choice(8,16,32)",
                "epochs": "choice(3,5,7)",
            },
        )
    ]
