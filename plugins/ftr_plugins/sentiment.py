"""Plugin `sentiment`: text classification with one label per text."""

from ftr.plugin import DatasetSpec, HeadSpec, MetricSpec, TaskSpec, hookimpl

AVERAGES = ("", "_macro", "_micro", "_weighted")
METRICS = {
    "accuracy": "share of labels that are right",
    "f1": "F1: macro, micro, weighted and per class",
    "precision": "precision: macro, micro, weighted and per class",
    "recall": "recall: macro, micro, weighted and per class",
    "macro_recall": "mean of the recall of each class",
    "confusion_matrix": "counts of true by predicted label",
}


def _scores(metric: str) -> tuple[str, ...]:
    if metric == "confusion_matrix":
        return ()
    return (
        tuple(f"{metric}{average}" for average in AVERAGES)
        if metric in ("f1", "precision", "recall")
        else (metric,)
    )


def _dataset(name: str, target: str, summary: str, hub_id: str = "") -> DatasetSpec:
    return DatasetSpec(
        name=name,
        target=f"ftr_plugins.{target}",
        columns=("id", "text", "label"),
        summary=summary,
        hub_id=hub_id,
    )


@hookimpl
def ftr_datasets() -> list[DatasetSpec]:
    """Return the classification datasets."""
    return [
        _dataset(
            "imdb", "hub_datasets:Imdb", "film reviews, two classes (hub)", "stanfordnlp/imdb"
        ),
        _dataset(
            "sst2",
            "hub_datasets:Sst2",
            "sentences from film reviews, two classes (hub)",
            "stanfordnlp/sst2",
        ),
        _dataset(
            "tweet-sentiment",
            "hub_datasets:TweetSentiment",
            "tweets, three classes (hub)",
            "mteb/tweet_sentiment_extraction",
        ),
        _dataset(
            "sentiment-sample",
            "samples:SentimentSample",
            "a small sample of reviews, three classes (in the package)",
        ),
    ]


@hookimpl
def ftr_heads() -> list[HeadSpec]:
    """Return the head."""
    return [
        HeadSpec(
            name="sequence-classification",
            target="ftr_plugins.classification.head:SequenceClassificationHead",
            options="ftr_plugins.classification.options:SequenceClassificationOptions",
            summary="one label for a text or a pair of texts",
        )
    ]


@hookimpl
def ftr_metrics() -> list[MetricSpec]:
    """Return the metrics."""
    return [
        MetricSpec(
            name=name,
            target=f"ftr_plugins.classification.metrics:{name}",
            summary=summary,
            scores=_scores(name),
        )
        for name, summary in METRICS.items()
    ]


@hookimpl
def ftr_tasks() -> list[TaskSpec]:
    """Return the task."""
    return [
        TaskSpec(
            name="sentiment",
            dataset="sentiment-sample",
            model="minilm",
            head="sequence-classification",
            metrics=("accuracy", "f1", "precision", "recall", "macro_recall", "confusion_matrix"),
            summary="give a text one label: its sentiment, or any other",
            also_called=(
                "classification",
                "classify",
                "classifier",
                "text-classification",
                "sequence-classification",
                "sentiment-analysis",
                "multiclass",
                "multi-class",
                "binary",
                "labels",
                "label",
                "nli",
            ),
            defaults={"learning_rate": 1e-4, "batch_size": 32, "epochs": 3, "data.max_length": 256},
            search_space={
                "learning_rate": "loguniform(2e-5,3e-4)",
                "batch_size": "choice(16,32,64)",
                "epochs": "choice(2,3,4)",
            },
        )
    ]
