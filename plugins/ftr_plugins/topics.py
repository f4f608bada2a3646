"""Plugin `topics`: any number of labels for a text."""

import ftr


@ftr.hookimpl
def ftr_datasets() -> list[ftr.DatasetSpec]:
    """Return the sample."""
    return [
        ftr.DatasetSpec(
            name="topics-sample",
            target="ftr_plugins.samples:TopicsSample",
            columns=("id", "text", "labels"),
            summary="a small sample of texts with up to three of six topics (in the package)",
        )
    ]


@ftr.hookimpl
def ftr_heads() -> list[ftr.HeadSpec]:
    """Return the head."""
    return [
        ftr.HeadSpec(
            name="multi-label-classification",
            target="ftr_plugins.multi_label.head:MultiLabelHead",
            options="ftr_plugins.multi_label.options:MultiLabelOptions",
            summary="any number of labels for a text or a pair of texts, with a threshold for each",
        )
    ]


@ftr.hookimpl
def ftr_metrics() -> list[ftr.MetricSpec]:
    """Return the metrics."""
    return [
        ftr.MetricSpec(
            name="multi_label",
            target="ftr_plugins.multi_label.metrics:MultiLabel",
            key="micro_f1",
            scores=("micro_f1", "macro_f1", "exact_match"),
            summary="F1: micro, macro and per label; share of rows with just the right labels",
        ),
        ftr.MetricSpec(
            name="average_precision",
            target="ftr_plugins.multi_label.metrics:AveragePrecision",
            scores=("average_precision", "average_precision_macro", "average_precision_micro"),
            summary="average precision: macro, micro and per label",
        ),
    ]


@ftr.hookimpl
def ftr_tasks() -> list[ftr.TaskSpec]:
    """Return the task."""
    return [
        ftr.TaskSpec(
            name="topics",
            dataset="topics-sample",
            model="minilm",
            head="multi-label-classification",
            metrics=("multi_label", "average_precision"),
            summary="find all topics of a text, or any other set of labels",
            defaults={"learning_rate": 4e-4, "batch_size": 16, "epochs": 5, "data.max_length": 256},
            search_space={
                "learning_rate": "loguniform(1e-4,1e-3)",
                "batch_size": "choice(8,16,32)",
                "epochs": "choice(3,5,7)",
            },
        )
    ]
