"""A short run of the fuzzers of data files."""

from fuzz import binary_files, files


def test_mutated_files_are_read_or_refused_and_every_row_is_accounted_for() -> None:
    assert files.run(400, seed=0) == {}


def test_mutated_binary_files_are_read_or_refused_and_end_no_process() -> None:
    assert binary_files.run(150, seed=0) == {}
