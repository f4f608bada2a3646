"""`data.bootstrap`: as many training rows as there are, drawn with replacement."""

import random
from collections import Counter

from ftr.data.rows import Rows


def bootstrap(rows: Rows, seed: int) -> tuple[Rows, int]:
    """Return a bootstrap sample (Efron 1979) in the order of the rows, and how many different rows are in it.

    A row that was drawn before gets the id `<id>#2`, `<id>#3`, ...
    """
    rng = random.Random(seed)
    drawn = sorted(rng.randrange(len(rows)) for _ in range(len(rows)))
    sample = rows.take(drawn)
    taken = {row["id"] for row in rows.rows}
    times: Counter[int] = Counter()
    for position, index in enumerate(drawn):
        times[index] += 1
        if times[index] > 1:
            name = f"{rows.rows[index]['id']}#{times[index]}"
            while name in taken:
                name += "#"
            taken.add(name)
            sample.rows[position] = {**sample.rows[position], "id": name}
    return sample, len(times)
