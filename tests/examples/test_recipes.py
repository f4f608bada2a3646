"""The recipes of `examples/recipes`: each resolves as it stands, and the longest of them runs end
to end on a small GPT-2 made by hand.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ftr
from ftr.config.resolve import resolve
from ftr.registry.registry import get_registry
from trainings import write_reviews

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_reads_from_the_hub_and_takes_files_in_its_place(
    path: Path, reviews: Path
) -> None:
    registry = get_registry()
    config = resolve([f"config={path}"], registry).config
    assert config.dataset.name.startswith("hub:")
    here = resolve([f"config={path}", f"dataset={reviews}", "model=minilm"], registry).config
    assert (here.dataset.name, here.model.name) == (str(reviews), "minilm")
    assert here.data == config.data and here.train == config.train


@pytest.mark.slow
def test_gpt2_from_nothing_goes_through_the_whole_recipe(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", broken=0)
    words = [
        str(RECIPES / "small_gpt2.py"),
        str(reviews),
        str(tmp_path / "gpt2"),
        "--column",
        "review",
        "--layers",
        "2",
        "--width",
        "32",
    ]
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=120)
    settings = [
        f"config={RECIPES / 'gpt2-imdb.yaml'}",
        f"dataset={reviews}",
        f"model={tmp_path / 'gpt2'}",
        f"output={tmp_path / 'runs'}",
    ]
    result = ftr.run([*settings, "epochs=2", "data.max_length=48"], say=lambda line: None)
    assert len(result.record["members"]) == 3
    for number in range(3):
        member = json.loads(
            (result.path / "members" / str(number) / "run.json").read_text(encoding="utf-8")
        )
        assert member["status"] == "done" and member["config"]["seed"] == number
        logged = [
            json.loads(line)
            for line in (result.path / "members" / str(number) / "metrics.jsonl")
            .read_text()
            .splitlines()
        ]
        assert [line["kind"] for line in logged].count("validation") == 2
    (answer,) = ftr.load(result.path).predict(["the film was great"])
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)
