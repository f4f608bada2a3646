"""What a text classifier should beat: the most frequent class, and TF-IDF with logistic
regression.
"""

from __future__ import annotations

import random
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.data.clean import WORD
from ftr.plugin import Prediction, Row

MAJORITY, TFIDF = "majority", "tf-idf"
TEXTS = ("text", "text_pair")
MOST_ROWS = 50_000
"""Training rows that the regression learns from at most, a seeded sample: bounds its time."""
MOST_FEATURES, MOST_WEIGHTS = 200_000, 2_000_000
"""Words and pairs of words that are counted at most, and these times the classes: bounds memory."""
C = 3.0
"""Inverse strength of the L2 penalty: between what is best on short texts (1) and on long ones
(10).
"""

Probabilities = NDArray[np.float64]


def baselines(
    train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
) -> dict[str, dict[str, list[Prediction]]]:
    """Return the predictions of both baselines for each split: see `majority` and `tfidf`; warns
    where the texts have no words.
    """
    most = {
        split: _decoded(rows, majority(train, rows, labels), labels)
        for split, rows in heldout.items()
    }
    if not have_words(train):
        return {MAJORITY: most}
    words = {
        split: _decoded(heldout[split], found, labels)
        for split, found in tfidf(train, heldout, labels).items()
    }
    return {MAJORITY: most, TFIDF: words}


def majority(train: Sequence[Row], rows: Sequence[Row], labels: Sequence[str]) -> Probabilities:
    """Return the shares of the classes among the training rows for every row: (rows, classes)."""
    counts = Counter(row["label"] for row in train)
    shares = np.array([counts[number] for number in range(len(labels))], dtype=np.float64) / len(
        train
    )
    return np.tile(shares, (len(rows), 1))


def tfidf(
    train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
) -> dict[str, Probabilities]:
    """Return class probabilities (rows, classes) for each split: multinomial logistic regression on
    `word_features`, L2, C 3 (scikit-learn, lbfgs).
    """
    chosen, features, asked = word_features(train, heldout, len(labels))
    model = fitted(features, [row["label"] for row in chosen])
    found: dict[str, Probabilities] = {}
    for split, table in asked.items():
        found[split] = np.zeros((len(heldout[split]), len(labels)))
        found[split][:, model.classes_] = model.predict_proba(table)
    return found


def word_features(
    train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], classes: int
) -> tuple[Sequence[Row], Any, dict[str, Any]]:
    """Return at most 50,000 of the training rows, their TF-IDF features and those of each split:
    sparse (rows, features).

    Words and pairs of neighbouring words, lower case, 1 + log of the count times the inverse
    document frequency, rows of length 1, the 200,000 most frequent (fewer for more than 10
    classes); both texts of a pair for themselves.
    """
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    chosen = random.Random(0).sample(list(train), MOST_ROWS) if len(train) > MOST_ROWS else train
    columns = [
        name for name in TEXTS if any(re.search(WORD, str(row.get(name) or "")) for row in chosen)
    ]
    settings: dict[str, Any] = {
        "ngram_range": (1, 2),
        "sublinear_tf": True,
        "token_pattern": WORD.pattern,
        "max_features": min(MOST_FEATURES, MOST_WEIGHTS // classes),
    }
    vectorizers = {name: TfidfVectorizer(**settings) for name in columns}

    def table(rows: Sequence[Row], method: str) -> Any:
        return hstack(
            [
                getattr(one, method)([row.get(name) or "" for row in rows])
                for name, one in vectorizers.items()
            ],
            format="csr",
        )

    features = table(chosen, "fit_transform")
    return chosen, features, {split: table(rows, "transform") for split, rows in heldout.items()}


def fitted(features: Any, targets: Any) -> Any:
    """Return scikit-learn's logistic regression, fitted."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=C, max_iter=200).fit(features, targets)


def have_words(train: Sequence[Row]) -> bool:
    """Whether the training texts have words to count; warns where they have none."""
    found = any(re.search(WORD, str(row.get(name) or "")) for row in train for name in TEXTS)
    if not found:
        warnings.warn(
            f"no baseline `{TFIDF}`: the training texts have no words (letters or digits) to count",
            stacklevel=3,
        )
    return found


def _decoded(
    rows: Sequence[Row], probabilities: Probabilities, labels: Sequence[str]
) -> list[Prediction]:
    best = probabilities.argmax(axis=1)
    return [
        {
            "id": row["id"],
            "label": labels[place],
            "label_id": int(place),
            "score": float(shares[place]),
            "probabilities": dict(zip(labels, shares.tolist(), strict=True)),
        }
        for row, place, shares in zip(rows, best, probabilities, strict=True)
    ]
