"""Plugin `topics`: any number of labels for a text."""

from ftr.plugin import DatasetSpec, HeadSpec, MetricSpec, TaskSpec, hookimpl


@hookimpl
def ftr_datasets() -> list[DatasetSpec]:
    """Return the sample."""
    return [
        DatasetSpec(
            name="topics-sample",
            target="ftr_plugins.samples:TopicsSample",
            columns=("id", "text", "labels"),
            summary="a small sample of texts with up to three of six topics (in the package)",
        )
    ]


@hookimpl
def ftr_heads() -> list[HeadSpec]:
    """Return the head."""
    return [
        HeadSpec(
            name="multi-label-classification",
            target="ftr_plugins.multi_label.head:MultiLabelHead",
            options="ftr_plugins.multi_label.options:MultiLabelOptions",
            summary="any number of labels for a text or a pair of texts, with a threshold for each",
        )
    ]


@hookimpl
def ftr_metrics() -> list[MetricSpec]:
    """Return the metrics."""
    return [
        MetricSpec(
            name="multi_label",
            target="ftr_plugins.multi_label.metrics:multi_label",
            key="micro_f1",
            scores=("micro_f1", "macro_f1", "exact_match"),
            summary="F1: micro, macro and per label; share of rows with just the right labels",
        ),
        MetricSpec(
            name="average_precision",
            target="ftr_plugins.multi_label.metrics:average_precision",
            scores=("average_precision", "average_precision_macro", "average_precision_micro"),
            summary="average precision: macro, micro and per label",
        ),
    ]


@hookimpl
def ftr_tasks() -> list[TaskSpec]:
    """Return the task."""
    return [
        TaskSpec(
            name="topics",
            dataset="topics-sample",
            model="minilm",
            head="multi-label-classification",
            metrics=("multi_label", "average_precision"),
            summary="give a text all labels that fit: its topics, or any others",
            also_called=(
                "classification",
                "classify",
                "text-classification",
                "multilabel",
                "multi-label",
                "multi-label-classification",
                "multilabel-classification",
                "tags",
                "labels",
            ),
            defaults={"learning_rate": 4e-4, "batch_size": 16, "epochs": 5, "data.max_length": 256},
            search_space={
                "learning_rate": "loguniform(1e-4,1e-3)",
                "batch_size": "choice(8,16,32)",
                "epochs": "choice(3,5,7)",
            },
        )
    ]
