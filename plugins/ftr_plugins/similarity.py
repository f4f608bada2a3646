"""Plugin `similarity`: a number for a text or a pair of texts."""

import ftr


@ftr.hookimpl
def ftr_datasets() -> list[ftr.DatasetSpec]:
    """Return the sample."""
    return [
        ftr.DatasetSpec(
            name="similarity-sample",
            target="ftr_plugins.samples:SimilaritySample",
            columns=("id", "text", "text_pair", "score"),
            summary="a small sample of pairs of sentences, rated from 0 to 5 (in the package)",
        )
    ]


@ftr.hookimpl
def ftr_heads() -> list[ftr.HeadSpec]:
    """Return the head."""
    return [
        ftr.HeadSpec(
            name="regression",
            target="ftr_plugins.regression.head:RegressionHead",
            summary="a number for a text or a pair of texts",
        )
    ]


@ftr.hookimpl
def ftr_metrics() -> list[ftr.MetricSpec]:
    """Return the metrics."""
    return [
        ftr.MetricSpec(
            name="spearman",
            target="ftr_plugins.regression.metrics:Spearman",
            scores=("spearman",),
            summary="Spearman's rank correlation",
        ),
        ftr.MetricSpec(
            name="pearson",
            target="ftr_plugins.regression.metrics:Pearson",
            scores=("pearson",),
            summary="Pearson's correlation",
        ),
        ftr.MetricSpec(
            name="mae",
            target="ftr_plugins.regression.metrics:MAE",
            mode="min",
            scores=("mae",),
            summary="mean absolute error",
        ),
        ftr.MetricSpec(
            name="mse",
            target="ftr_plugins.regression.metrics:MSE",
            mode="min",
            scores=("mse",),
            summary="mean squared error",
        ),
    ]


@ftr.hookimpl
def ftr_tasks() -> list[ftr.TaskSpec]:
    """Return the task."""
    return [
        ftr.TaskSpec(
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
