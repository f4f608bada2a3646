"""Plugin `similarity`: how alike two texts are, as a number."""

import ftr


@ftr.hookimpl
def ftr_datasets() -> list[ftr.DatasetSpec]:
    """Return the sample."""
    return [
        ftr.DatasetSpec(
            name="similarity-sample",
            target="ftr_similarity.sample:SimilaritySample",
            columns=("id", "text", "text_pair", "score"),
            summary="pairs of sentences, 0 (nothing in common) to 5 (the same said twice), in "
            "English and German (in the package)",
        )
    ]


@ftr.hookimpl
def ftr_heads() -> list[ftr.HeadSpec]:
    """Return the head."""
    return [
        ftr.HeadSpec(
            name="pair-regression",
            target="ftr_similarity.head:PairRegressionHead",
            summary="a number for a pair of texts",
        )
    ]


@ftr.hookimpl
def ftr_metrics() -> list[ftr.MetricSpec]:
    """Return the metric."""
    return [
        ftr.MetricSpec(
            name="correlation",
            target="ftr_similarity.metric:Correlation",
            key="spearman",
            summary="Spearman's and Pearson's correlation, and the mean squared error",
        )
    ]


@ftr.hookimpl
def ftr_tasks() -> list[ftr.TaskSpec]:
    """Return the task."""
    return [
        ftr.TaskSpec(
            name="similarity",
            dataset="similarity-sample",
            model="minilm",
            head="pair-regression",
            metrics=("correlation",),
            summary="rate how alike two texts are",
            defaults={"learning_rate": 2e-4, "batch_size": 16, "epochs": 8, "data.max_length": 96},
            search_space={
                "learning_rate": "loguniform(5e-5,5e-4)",
                "batch_size": "choice(8,16,32)",
                "epochs": "choice(6,8,10)",
            },
        )
    ]
