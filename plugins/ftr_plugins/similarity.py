"""Plugin `similarity`: a number for a text or a pair of texts."""

from ftr.plugin import DatasetSpec, HeadSpec, MetricSpec, TaskSpec, hookimpl


@hookimpl
def ftr_datasets() -> list[DatasetSpec]:
    """Return the sample."""
    return [
        DatasetSpec(
            name="similarity-sample",
            target="ftr_plugins.samples:SimilaritySample",
            columns=("id", "text", "text_pair", "score"),
            summary="a small sample of pairs of sentences, rated from 0 to 5 (in the package)",
        )
    ]


@hookimpl
def ftr_heads() -> list[HeadSpec]:
    """Return the head."""
    return [
        HeadSpec(
            name="regression",
            target="ftr_plugins.regression.head:RegressionHead",
            summary="a number for a text or a pair of texts",
        )
    ]


@hookimpl
def ftr_metrics() -> list[MetricSpec]:
    """Return the metrics."""
    return [
        MetricSpec(
            name="spearman",
            target="ftr_plugins.regression.metrics:spearman",
            scores=("spearman",),
            summary="Spearman's rank correlation",
        ),
        MetricSpec(
            name="pearson",
            target="ftr_plugins.regression.metrics:pearson",
            scores=("pearson",),
            summary="Pearson's correlation",
        ),
        MetricSpec(
            name="mae",
            target="ftr_plugins.regression.metrics:mae",
            mode="min",
            scores=("mae",),
            summary="mean absolute error",
        ),
        MetricSpec(
            name="mse",
            target="ftr_plugins.regression.metrics:mse",
            mode="min",
            scores=("mse",),
            summary="mean squared error",
        ),
    ]


@hookimpl
def ftr_tasks() -> list[TaskSpec]:
    """Return the task."""
    return [
        TaskSpec(
            name="similarity",
            dataset="similarity-sample",
            model="minilm",
            head="regression",
            metrics=("spearman", "pearson", "mae", "mse"),
            summary="rate how similar two texts are, or give a text any other number",
            defaults={"learning_rate": 2e-4, "batch_size": 16, "epochs": 8, "data.max_length": 128},
            search_space={
                "learning_rate": "loguniform(5e-5,5e-4)",
                "batch_size": "choice(8,16,32)",
                "epochs": "choice(6,8,10)",
            },
        )
    ]
