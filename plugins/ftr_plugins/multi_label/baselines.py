"""What a multi-label classifier should beat: the most frequent set of labels, and TF-IDF with a
logistic regression for each label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.plugin import Prediction, Row
from ftr_plugins.classification.baselines import (
    MAJORITY,
    TFIDF,
    Probabilities,
    fitted,
    have_words,
    word_features,
)
from ftr_plugins.multi_label.thresholds import (
    DEFAULT,
    applying,
    best_threshold,
    label_ids,
    prediction,
)

FOLDS = 3


def baselines(
    train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
) -> dict[str, dict[str, list[Prediction]]]:
    """Return the predictions of both baselines for each split.

    `majority` gives every row the most frequent set of the training rows, and as probabilities the
    share of the rows that have each label. `tf-idf` is a logistic regression for each label on
    `word_features`, with a calibrated threshold. Warns where the texts have no words.
    """
    counts = Counter(tuple(sorted(label_ids(row))) for row in train)
    most = list(counts.most_common(1)[0][0])
    applies = np.array([[n in label_ids(row) for n in range(len(labels))] for row in train])
    shares = applies.mean(axis=0)
    found = {
        MAJORITY: {
            split: [{"id": row["id"], **prediction(most, shares, labels)} for row in rows]
            for split, rows in heldout.items()
        }
    }
    if have_words(train):
        tables, thresholds = tfidf(train, heldout, labels)
        found[TFIDF] = {
            split: [
                {"id": row["id"], **prediction(applying(line, thresholds), line, labels)}
                for row, line in zip(heldout[split], table, strict=True)
            ]
            for split, table in tables.items()
        }
    return found


def tfidf(
    train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
) -> tuple[dict[str, Probabilities], list[float]]:
    """Return the probabilities (rows, labels) for each split, and the threshold of each label.

    A label that no training row has, or all have, gets 0 or 1. Thresholds have the best F1 on
    training rows, each rated by a regression on two thirds of the others; 0.5 for a label that
    fewer than three rows have.
    """
    chosen, features, asked = word_features(train, heldout, len(labels))
    found = {split: np.zeros((len(rows), len(labels))) for split, rows in heldout.items()}
    thresholds = [DEFAULT] * len(labels)
    for number in range(len(labels)):
        targets = np.array([number in label_ids(row) for row in chosen])
        if len(set(targets)) == 1:
            for table in found.values():
                table[:, number] = targets[0]
            continue
        model = fitted(features, targets)
        for split, table in asked.items():
            found[split][:, number] = model.predict_proba(table)[:, 1]
        if min(targets.sum(), (~targets).sum()) >= FOLDS:
            thresholds[number] = best_threshold(_out_of_fold(features, targets), targets)
    return found, thresholds


def _out_of_fold(features: Any, targets: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the probability of each row by a regression on the other folds."""
    from sklearn.model_selection import StratifiedKFold

    found = np.zeros(len(targets))
    for seen, unseen in StratifiedKFold(FOLDS).split(np.zeros(len(targets)), targets):
        found[unseen] = fitted(features[seen], targets[seen]).predict_proba(features[unseen])[:, 1]
    return found
