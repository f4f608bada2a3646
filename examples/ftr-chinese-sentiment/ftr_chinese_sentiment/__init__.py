"""Plugin `chinese-sentiment`: the sentiment of Chinese reviews, read character by character by a
small model of its own.
"""

import ftr


@ftr.hookimpl
def ftr_datasets() -> list[ftr.DatasetSpec]:
    """Return the sample."""
    return [
        ftr.DatasetSpec(
            name="chinese-reviews",
            target="ftr_chinese_sentiment.sample:ChineseReviews",
            options="ftr_chinese_sentiment.options:SampleOptions",
            columns=("id", "text", "label"),
            summary="reviews of hotels, food, phones and books, three classes, simplified and "
            "traditional (in the package)",
        )
    ]


@ftr.hookimpl
def ftr_models() -> list[ftr.ModelSpec]:
    """Return the model."""
    return [
        ftr.ModelSpec(
            name="hanzi-bert",
            target="ftr_chinese_sentiment.model:HanziBert",
            options="ftr_chinese_sentiment.options:HanziOptions",
            summary="a small BERT over Chinese characters, its weights drawn from a seed; needs no "
            "hub",
        )
    ]


@ftr.hookimpl
def ftr_tasks() -> list[ftr.TaskSpec]:
    """Return the task."""
    return [
        ftr.TaskSpec(
            name="chinese-sentiment",
            dataset="chinese-reviews",
            model="hanzi-bert",
            head="sequence-classification",
            metrics=("accuracy", "f1", "confusion_matrix"),
            summary="label a Chinese review by its sentiment",
            defaults={"learning_rate": 1e-3, "batch_size": 16, "epochs": 8, "data.max_length": 64},
            search_space={
                "learning_rate": "loguniform(3e-4,3e-3)",
                "batch_size": "choice(8,16,32)",
                "model.layers": "choice(1,2)",
            },
        )
    ]
