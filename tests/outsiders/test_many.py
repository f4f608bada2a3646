"""Fifty installed plugins, five of them broken: light commands stay light, and five lines say what
is wrong.
"""

import runpy
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "many_plugins.py"
PLUGINS, BROKEN = 50, 5


def test_help_and_list_stay_light_and_say_one_line_for_each_broken_plugin(tmp_path: Path) -> None:
    benchmark = runpy.run_path(str(BENCHMARK))
    benchmark["install"](tmp_path / "site", PLUGINS, BROKEN)
    for words, lines in ((["--help"], 0), (["list"], BROKEN)):
        found = benchmark["measure"](tmp_path / "site", *words, runs=1)
        assert (found.lines, found.torch) == (lines, False)
