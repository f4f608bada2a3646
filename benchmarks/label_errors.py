"""How many of the training labels flipped on purpose are among the most suspicious ones.

A sample of SST-2's training rows, 5 % of whose labels are flipped by seed, goes through a
cross-validation of one epoch with the default model; each way of ranking is then asked for the most
suspicious labels. The trained run is kept in `--output`, and used again where it is there.
"""

import argparse
import csv
import gzip
import json
import random
from pathlib import Path

import ftr
from ftr.results.label_errors import METHODS, suspicious_labels
from throughput import HERE, machine

NAMES = ("negative", "positive")


def main() -> None:
    """Train, rank and print."""
    args = arguments()
    print("\n".join(machine()), flush=True)
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
    for method in METHODS:
        ranked = suspicious_labels(done[-1].parent, method=method, limit=args.rows)
        for top in (50, 100, 200):
            hits = sum(one.id in flips for one in ranked[:top])
            print(
                f"{method}: {hits} flips among the first {top} ({hits / top:.1%}), "
                f"{hits / len(flips):.1%} of all flips"
            )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.05, help="share of the labels to flip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("label-errors"))
    return parser.parse_args()


def write_rows(args: argparse.Namespace, rows: Path, flipped: Path) -> None:
    """Write the sample with its flips, and the ids of these."""
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
            writer.writerow((number, known[number]["sentence"].strip(), NAMES[label]))
    flipped.write_text(json.dumps(sorted(map(str, flips))), encoding="utf-8")


if __name__ == "__main__":
    main()
