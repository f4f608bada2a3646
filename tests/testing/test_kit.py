"""The kit as an author meets it: a pytest plugin, light to import, whose tests have names, skips
and one-message failures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftr.registry.registry import Registry
from ftr.testing.tiny import FAMILIES

SUITE = """
import os

from ftr.testing import DatasetConformance, ModelConformance


class TestSample(DatasetConformance):
    name = "sentiment-sample"


class TestOptions(DatasetConformance):
    name = "qa-sample"
    options = {"parts": 3}


class TestSquad(DatasetConformance):
    name = "squad"


class TestNobody(ModelConformance):
    name = "nobody"


def test_fixtures(ftr_registry, ftr_runs):
    assert ftr_registry.has("task", "qa") and ftr_runs.is_dir() and not list(ftr_runs.iterdir())
    assert "ftr-cache" in os.environ["FTR_CACHE"]
"""


@pytest.mark.slow
def test_an_authors_tests_pass_fail_and_skip_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["ftr.testing"]\n')
    (tmp_path / "test_mine.py").write_text(SUITE)
    asked = [
        sys.executable,
        "-m",
        "pytest",
        "-rA",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-k",
        "not another_process",
        str(tmp_path),
    ]
    done = subprocess.run(
        asked, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    told = done.stdout
    assert "PASSED test_mine.py::test_fixtures" in told, told
    assert "PASSED test_mine.py::TestSample::test_its_rows_are_the_same_each_time" in told
    for fine in ("TestSample", "TestSquad"):
        assert f"FAILED test_mine.py::{fine}" not in told and "ERROR" not in told, told
    assert "FAILED test_mine.py::TestOptions::test_no_split_is_empty" in told
    assert (
        "contract: the dataset `qa-sample` takes the `options` of this class\nfound: its spec "
        "names no options\nchange: add" in told
    )
    assert (
        "contract: the model `nobody` is registered by a plugin that loads" in told
        and "Available: `minilm`" in told
    )
    skipped = [line for line in told.splitlines() if line.startswith("SKIPPED")]
    assert any(
        "dataset `hub:rajpurkar/squad` cannot be downloaded from the Hub" in line
        for line in skipped
    ), told
    failures = told.partition("= FAILURES =")[2].partition("short test summary")[0]
    # Each failure is its heading and its message.
    assert (
        failures.count("contract: ") == failures.count("change: ") > 5
        and "Traceback" not in told
        and ".py:" not in failures
    ), told


def test_the_kit_imports_neither_torch_nor_ray_nor_pydantic() -> None:
    code = (
        "import sys, ftr.testing; print(sorted({'torch', 'ray', 'transformers', 'datasets', "
        "'evaluate', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_tiny_models_are_of_the_known_families_and_made_when_asked_for(
    ftr_tiny_models: dict[str, Path],
) -> None:
    from transformers import AutoConfig

    assert list(ftr_tiny_models) == list(FAMILIES) and len(ftr_tiny_models) == len(FAMILIES)
    assert AutoConfig.from_pretrained(ftr_tiny_models["distilbert"]).model_type == "distilbert"
    assert ftr_tiny_models["distilbert"] is not None and "t5" not in ftr_tiny_models
    with pytest.raises(KeyError):
        _ = ftr_tiny_models["t5"]


def test_a_tiny_model_can_know_the_characters_of_any_script(ftr_tiny_models) -> None:  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    text = "这部电影很好看 Ünïcode"
    plain, knowing = (
        AutoTokenizer.from_pretrained(folder)
        for folder in (ftr_tiny_models["bert"], ftr_tiny_models.knowing("bert", text))
    )
    unknown = [
        tokenizer(text)["input_ids"].count(tokenizer.unk_token_id) for tokenizer in (plain, knowing)
    ]
    assert unknown[0] >= 7 and unknown[1] == 0
    assert ftr_tiny_models.knowing("bert", "plain letters") == ftr_tiny_models["bert"]
    assert ftr_tiny_models.knowing("gpt2", text) == ftr_tiny_models["gpt2"]


def test_the_registry_is_that_of_what_is_installed(ftr_registry: Registry, ftr_runs: Path) -> None:
    assert {entry.spec.name for entry in ftr_registry.all("task")} >= {"qa", "sentiment"}
    assert str(os.environ["FTR_CACHE"]) != str(ftr_runs) and ftr_runs.is_dir()
