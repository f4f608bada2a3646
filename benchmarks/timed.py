"""The `ftr` command, which also writes the processor seconds of its training to the file that is
its first argument.
"""

import sys
import time
from pathlib import Path

from ftr.cli.main import main
from ftr.train.progress import Meter


def watch(path: Path) -> None:
    """Measure what `Meter` measures as processor time."""
    mark, add = Meter.mark, Meter.add
    since, total = time.process_time(), 0.0

    def marked(self: Meter) -> None:
        nonlocal since
        mark(self)
        since = time.process_time()

    def added(self: Meter, examples: int, *losses: float) -> None:
        nonlocal total
        total += time.process_time() - since
        path.write_text(f"{total}\n", encoding="utf-8")
        add(self, examples, *losses)

    Meter.mark, Meter.add = marked, added  # type: ignore[method-assign]


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
