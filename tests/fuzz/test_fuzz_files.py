"""A short run of the fuzzer of data files."""

import importlib.util
from pathlib import Path


def test_mutated_files_are_read_or_refused_and_every_row_is_accounted_for() -> None:
    spec = importlib.util.spec_from_file_location(
        "fuzz_files", Path(__file__).with_name("files.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.run(400, seed=0) == {}
