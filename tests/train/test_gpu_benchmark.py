"""`benchmarks/gpu.py` on a machine without a GPU: it measures what needs none, and says what does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the whole program is run there")
def test_the_parts_that_need_no_gpu_run_and_the_others_say_so(
    tiny_bert: Path, tmp_path: Path
) -> None:
    words: list[str | Path] = ["--model", tiny_bert, "--cases", "sst2", "--data", tmp_path / "none"]
    done = subprocess.run(
        [sys.executable, PROGRAM, *words, "--only", "speed", "memory", "quarters"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", done.stdout, re.M | re.S))
    for part in ("memory", "quarters"):
        assert parts[part].strip().splitlines()[0] == "not measured: needs a GPU"
    rates = re.search(r"\| sst2 \| alone \| ([\d,]+) \| ([\d,]+) \|", parts["speed"])
    assert rates is not None and all(int(one.replace(",", "")) > 0 for one in rates.groups())
    assert "| sst2 | torch.compile | not measured: needs a GPU |" in parts["speed"]
