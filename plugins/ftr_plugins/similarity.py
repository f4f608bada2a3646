"""Plugin `similarity`: a number for a text or a pair of texts."""

from ftr.plugin import DatasetSpec, HeadSpec, MetricSpec, TaskSpec, hookimpl

METRICS = {
    "spearman": "Spearman's rank correlation",
    "pearson": "Pearson's correlation",
    "mae": "mean absolute error",
    "mse": "mean squared error",
}


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
    """Return the metrics; each gives the score of its name."""
    return [
        MetricSpec(
            name=name,
            target=f"ftr_plugins.regression.metrics:{name}",
            mode="max" if name in ("spearman", "pearson") else "min",
            scores=(name,),
            summary=summary,
        )
        for name, summary in METRICS.items()
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
            metrics=tuple(METRICS),
            summary="rate how similar two texts are, or give a text any other number",
            also_called=(
                "regression",
                "sts",
                "score",
                "rating",
                "sentence-similarity",
                "text-similarity",
                "stsb",
            ),
            defaults={"learning_rate": 2e-4, "batch_size": 16, "epochs": 8, "data.max_length": 128},
            search_space={
                "learning_rate": "loguniform(5e-5,5e-4)",
                "batch_size": "choice(8,16,32)",
                "epochs": "choice(6,8,10)",
            },
        )
    ]
