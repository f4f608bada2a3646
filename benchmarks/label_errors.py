"""How many of the training labels flipped on purpose are among the most suspicious ones.

The sentences of SST-2's training split, or a sample of them (`--phrases`: of its phrases), 5 % of whose labels are flipped by seed, goes through a
cross-validation of one epoch with the default model. The trained run is kept in `--output`, and
used again where it is there.

With `--tweets`, three ways of ranking are compared instead, on out-of-fold probabilities of a
TF-IDF model for tweets of three classes: with two classes all three rank alike.
"""

import argparse
import csv
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ftr
from ftr.results.label_errors import self_confidence, suspicious_labels
from throughput import HERE, machine, sst2_rows

NAMES = ("negative", "positive")
TOP = (50, 100, 200)
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def main() -> None:
    """Train or read, rank and print."""
    args = arguments()
    print("\n".join(machine()), flush=True)
    if args.tweets:
        for seed in range(3):
            tweets(args, seed)
        return
    args.output.mkdir(parents=True, exist_ok=True)
    rows, flipped = args.output / f"rows-{args.rows}.csv", args.output / f"flips-{args.rows}.json"
    write_rows(args, rows, flipped)
    runs = args.output / f"runs-{args.rows}"
    done = sorted(runs.glob("*/run.json"))
    if not done:
        settings = ["task=sentiment", f"dataset={rows}", f"cv.folds={args.folds}", "epochs=1"]
        ftr.run([*settings, "baselines=false", f"output={runs}", "data.test_size=0"])
        done = sorted(runs.glob("*/run.json"))
    flips = set(json.loads(flipped.read_text(encoding="utf-8")))
    print(f"{args.rows} rows, {len(flips)} flips: {len(flips) / args.rows:.1%} at random")
    ranked = suspicious_labels(done[-1].parent, limit=args.rows)
    for top in TOP:
        hits = sum(one.id in flips for one in ranked[:top])
        print(
            f"{hits} flips among the first {top} ({hits / top:.1%}), {hits / len(flips):.1%} of "
            "all flips"
        )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=6920)
    parser.add_argument("--phrases", action="store_true", help="phrases instead of sentences")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.05, help="share of the labels to flip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("label-errors"))
    parser.add_argument("--tweets", action="store_true", help="compare ways of ranking")
    return parser.parse_args()


def write_rows(args: argparse.Namespace, rows: Path, flipped: Path) -> None:
    """Write the sample with its flips, and the ids of these."""
    known: list[dict[str, Any]] = list(sst2_rows(args.data, "train"))
    if args.phrases:
        with gzip.open(args.data / "sst2" / "train.tsv.gz", "rt", encoding="utf-8") as file:
            known = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    rng = random.Random(args.seed)
    chosen = rng.sample(range(len(known)), args.rows)
    flips = set(rng.sample(chosen, round(args.share * args.rows)))
    with rows.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "text", "label"))
        for number in chosen:
            label = int(known[number]["label"]) ^ (number in flips)
            text = known[number].get("text") or known[number]["sentence"]
            writer.writerow((number, text.strip(), NAMES[label]))
    flipped.write_text(json.dumps(sorted(map(str, flips))), encoding="utf-8")


def tweets(args: argparse.Namespace, seed: int) -> None:
    """Flip labels of a sample of tweets, and print what each way of ranking finds of them."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folder, rng = args.data / "tweeteval_sentiment", random.Random(seed)
    texts = (folder / "test_text.txt").read_text(encoding="utf-8").split("\n")[:-1]
    labels = (folder / "test_labels.txt").read_text(encoding="utf-8").split()
    chosen = rng.sample(range(len(texts)), 2 * args.rows)
    given = np.array([int(labels[number]) for number in chosen])
    flipped = np.zeros(len(given), dtype=bool)
    for place in rng.sample(range(len(given)), round(args.share * len(given))):
        flipped[place], given[place] = True, (given[place] + rng.choice((1, 2))) % 3
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    probabilities = cross_val_predict(
        LogisticRegression(C=10, max_iter=500),
        words.fit_transform([texts[number] for number in chosen]),
        given,
        cv=StratifiedKFold(args.folds, shuffle=True, random_state=0),
        method="predict_proba",
    )
    for method in METHODS:
        ranked = flipped[np.argsort(method(probabilities, given), kind="stable")]
        shown = ", ".join(f"{int(ranked[:top].sum())} among the first {top}" for top in TOP)
        print(f"seed {seed}, {method.__name__}: {shown} (of {int(flipped.sum())} flips)")


def normalized_margin(probabilities: Floats, given: Ids) -> Floats:
    """Return (1 + p of the given class - the greatest p of another) / 2 of each row, (rows,).

    The normalized margin in Northcutt et al. 2021, section 3.2, moved into 0 to 1.
    """
    others = probabilities.copy()
    others[np.arange(len(given)), given] = -np.inf
    margin: Floats = (1 + self_confidence(probabilities, given) - others.max(axis=1)) / 2
    return margin


def confident_learning(probabilities: Floats, given: Ids) -> Floats:
    """Return the self-confidence of each row, halved, and raised by one half unless the row is in
    an off-diagonal cell of the confident joint: those come first, with the least.

    Northcutt et al. 2021, section 3.1, equation 2: the threshold of a class is the mean probability
    of that class over the rows that are given it, and a row counts for the most probable class of
    those that reach their threshold.
    """
    classes = probabilities.shape[1]
    thresholds = np.array(
        [
            probabilities[given == number, number].mean() if (given == number).any() else np.inf
            for number in range(classes)
        ]
    )
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    off = (above.max(axis=1) >= 0) & (above.argmax(axis=1) != given)
    return np.asarray((self_confidence(probabilities, given) + ~off) / 2)


METHODS: tuple[Callable[[Floats, Ids], Floats], ...] = (
    self_confidence,
    normalized_margin,
    confident_learning,
)


if __name__ == "__main__":
    main()
