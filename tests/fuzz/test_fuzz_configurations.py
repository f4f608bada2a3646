"""A short run of the fuzzer of configurations; `python tests/fuzz/configurations.py` is the long
one.
"""

from pathlib import Path

from fuzz.configurations import fuzz


def test_whatever_is_written_a_command_ends_with_0_or_2_and_one_message(tmp_path: Path) -> None:
    failures = fuzz(300, seed=7, folder=tmp_path)
    assert [(failure.kind, failure.words) for failure in failures] == []
