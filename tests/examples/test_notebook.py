"""The notebook of the examples runs from top to bottom in an empty folder, and its outputs in the
repository are of the same cells.
"""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from pages import PROJECT

NOTEBOOK = PROJECT / "examples" / "first-hour.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    notebook = nbformat.reads(NOTEBOOK.read_text(encoding="utf-8"), as_version=4)
    there = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=there).execute()
    shown = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert "image/png" in shown[-1][-1]["data"]
    (run, _, sweep) = sorted((tmp_path / "runs").iterdir())
    rows = json.loads((run / "run.json").read_text(encoding="utf-8"))["heldout"]
    assert rows and (sweep / "best" / "model" / "model.safetensors").is_file()


def test_its_stored_outputs_are_complete() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and [cell["source"] for cell in code if not cell["outputs"]] == []
    assert all(output["output_type"] != "error" for cell in code for output in cell["outputs"])
