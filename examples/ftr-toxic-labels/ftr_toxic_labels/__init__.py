"""Plugin `toxic-labels`: what is wrong with a comment; several labels may apply, or none."""

import ftr


@ftr.hookimpl
def ftr_datasets() -> list[ftr.DatasetSpec]:
    """Return the sample."""
    return [
        ftr.DatasetSpec(
            name="toxic-sample",
            target="ftr_toxic_labels.sample:ToxicSample",
            columns=("id", "text", "labels"),
            summary="comments that insult, threaten, swear or advertise, and kind ones, in three "
            "languages (in the package)",
        )
    ]


@ftr.hookimpl
def ftr_heads() -> list[ftr.HeadSpec]:
    """Return the head."""
    return [
        ftr.HeadSpec(
            name="multi-label",
            target="ftr_toxic_labels.head:MultiLabelHead",
            options="ftr_toxic_labels.options:MultiLabelOptions",
            summary="any number of labels for a text",
        )
    ]


@ftr.hookimpl
def ftr_metrics() -> list[ftr.MetricSpec]:
    """Return the metric."""
    return [
        ftr.MetricSpec(
            name="multi_label",
            target="ftr_toxic_labels.metric:MultiLabel",
            key="micro_f1",
            summary="micro and macro F1, and exact match",
        )
    ]


@ftr.hookimpl
def ftr_tasks() -> list[ftr.TaskSpec]:
    """Return the task."""
    return [
        ftr.TaskSpec(
            name="toxic-labels",
            dataset="toxic-sample",
            model="minilm",
            head="multi-label",
            metrics=("multi_label",),
            summary="say what is wrong with a comment",
            defaults={"learning_rate": 4e-4, "batch_size": 16, "epochs": 5, "data.max_length": 96},
            search_space={
                "learning_rate": "loguniform(1e-4,1e-3)",
                "batch_size": "choice(8,16,32)",
                "epochs": "choice(3,5,7)",
            },
        )
    ]
