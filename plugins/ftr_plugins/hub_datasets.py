"""Named datasets that live on the hub: an id, and what to do with its columns and splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from datasets import DatasetDict
    from pydantic import BaseModel


class HubDataset:
    """A hub dataset whose splits are `splits` and whose columns get the names that `rename` gives
    them.
    """

    hub_id: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    rename: ClassVar[dict[str, str]] = {}
    columns: ClassVar[tuple[str, ...]] = ("id", "text", "label")

    def load(self, options: BaseModel | None = None) -> DatasetDict:
        """Return the splits with canonical columns.

        Raises `DataError` when the hub cannot be reached.
        """
        from ftr.data.read import fetch

        return self.canonical(fetch(self.hub_id))

    def canonical(self, fetched: DatasetDict) -> DatasetDict:
        """Return only the splits and columns that are used, renamed."""
        kept = type(fetched)(
            {name: dataset for name, dataset in fetched.items() if name in self.splits}
        )
        for name, dataset in kept.items():
            renamed = {old: new for old, new in self.rename.items() if old in dataset.column_names}
            clash = [
                new
                for old, new in renamed.items()
                if new in dataset.column_names and new not in renamed
            ]
            named = dataset.remove_columns(clash).rename_columns(renamed)
            kept[name] = named.select_columns(
                [column for column in self.columns if column in named.column_names]
            )
        return kept


class Imdb(HubDataset):
    """Film reviews, two classes; the unlabelled reviews are not used."""

    hub_id = "stanfordnlp/imdb"
    splits = ("train", "test")


class Sst2(HubDataset):
    """Sentences from film reviews, two classes; the test split is left out because its labels are
    all -1.
    """

    hub_id = "stanfordnlp/sst2"
    splits = ("train", "validation")
    rename: ClassVar[dict[str, str]] = {"sentence": "text", "idx": "id"}


class TweetSentiment(HubDataset):
    """Tweets, three classes by name."""

    hub_id = "mteb/tweet_sentiment_extraction"
    splits = ("train", "test")
    rename: ClassVar[dict[str, str]] = {"label": "number", "label_text": "label"}


class Squad(HubDataset):
    """SQuAD v1.1."""

    hub_id = "rajpurkar/squad"
    splits = ("train", "validation")
    columns = ("id", "title", "context", "question", "answers")


class SquadV2(Squad):
    """SQuAD v2.0, with unanswerable questions."""

    hub_id = "rajpurkar/squad_v2"
