"""The examples are packages of strangers: built, installed, found, tested, trained, asked and swept
as such.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from wheels import EXAMPLES, PACKAGES, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TASKS = {
    "chinese-sentiment": ("ftr-chinese-sentiment", "accuracy", set()),
    "ingredients": ("ftr-ner", "entity_f1", {"whole_lines"}),
    "paraphrase": ("ftr-similarity", "spearman", {"within_one"}),
    "toxic-labels": ("ftr-toxic-labels", "micro_f1", {"jaccard"}),
}
"""Each task with its package, the score that ranks, and the scores of its own metric."""
MOST_LINES = {"ftr-ner": 45, "ftr-similarity": 45, "ftr-toxic-labels": 45}
QUICK = (
    "data.max_length=48",
    "data.limit=32",
    "data.limit_validation=12",
    "data.limit_test=12",
    "batch_size=8",
    "train.precision=fp32",
)
UNLABELLED = {
    "chinese-sentiment": {"text": "房间很干净，下次还来。"},
    "ingredients": {"tokens": ["Add", "200", "g", "of", "butter", "."]},
    "paraphrase": {"text": "A dog runs.", "text_pair": "The dog is running."},
    "toxic-labels": {"text": "Thank you for the pictures."},
}
CHECKS = "not two_workers and not trials_of_a_sweep and not roberta and not distilbert and not gpt2"
"""All but the checks that start Ray, as the sweeps below do, and heads on one family of models."""
RESOLVE = """
import json, sys
from ftr.config.resolve import resolve
from ftr.config.sweep import resolve_sweep
from ftr.registry.registry import get_registry
for name, *settings in json.load(sys.stdin):
    (resolve_sweep if name == "sweep" else resolve)(settings, get_registry())
"""


def tiny(task: str, bert: Path) -> list[str]:
    """Return the settings that make a task's model tiny."""
    return (
        ["model.layers=1", "model.width=32"] if task == "chinese-sentiment" else [f"model={bert}"]
    )


@pytest.fixture(scope="module")
def answers(place: Place, tiny_bert: Path) -> dict[str, list[Any]]:
    """Of each task: a short training, its predictions for a row without labels, and its
    evaluation.
    """
    lines: list[list[str]] = []
    for task in TASKS:
        file = place.folder / f"{task}.jsonl"
        file.write_text(json.dumps(UNLABELLED[task], ensure_ascii=False) + "\n", encoding="utf-8")
        lines += [
            ["run", f"task={task}", *QUICK, *tiny(task, tiny_bert), "epochs=1"],
            ["predict", "RUN", file.name],
            ["evaluate", "RUN"],
        ]
    found = place.commands(*lines)
    return {task: found[3 * number : 3 * number + 3] for number, task in enumerate(TASKS)}


def test_the_wheels_are_found_and_nothing_of_them_is_in_the_way(place: Place) -> None:
    plugins = {
        plugin["distribution"]: plugin for plugin in place.ftr("plugins") if not plugin["builtin"]
    }
    assert plugins.keys() >= set(PACKAGES)
    for name in PACKAGES:
        plugin = plugins[name]
        assert (plugin["status"], plugin["version"], plugin["shadowed"]) == ("loaded", "0.1.0", [])
        assert Path(plugin["origin"]).is_relative_to(place.folder.parent / "venv")
    assert set(TASKS) <= {task["name"] for task in place.ftr("list", "task")}


def test_the_packages_keep_the_contract_and_pass_their_own_tests(place: Place) -> None:
    folders = [str(place.folder / name / "tests") for name in PACKAGES]
    said = place.call(
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        "-k",
        CHECKS,
        *folders,
    )
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed[1]) > 150, said


def test_the_packages_are_short() -> None:
    for name, most in MOST_LINES.items():
        files = list((EXAMPLES / name).glob("ftr_*/**/*.py"))
        assert files and sum(len(path.read_text().splitlines()) for path in files) <= most, name


def test_every_task_trains_and_scores_its_run_again(
    place: Place, answers: dict[str, list[Any]]
) -> None:
    for task, (package, score, own) in TASKS.items():
        run, _, evaluation = answers[task]
        assert own <= run["scores"].keys()
        assert (
            run["record"]["primary"] == score
            and run["record"]["untrained"].keys() == run["scores"].keys()
        )
        assert run["record"]["components"][f"task:{task}"]["distribution"] == package
        assert (
            json.loads((place.folder / run["model"] / "ftr.json").read_text(encoding="utf-8"))[
                "task"
            ]
            == task
        )
        assert (evaluation["split"], evaluation["rows"]) == ("test", 12)
        assert evaluation["scores"][score] == pytest.approx(run["scores"][score], abs=1e-6)


def test_every_task_answers_rows_without_labels(answers: dict[str, list[Any]]) -> None:
    (review,), (sentence,), (pair,), (comment,) = (answers[task][1] for task in TASKS)
    assert review["label"] in ("好评", "中评", "差评")
    assert len(sentence["tags"]) == 6 and all(
        {"type", "start", "end", "text", "score"} == set(found) for found in sentence["entities"]
    )
    assert isinstance(pair["score"], float)
    assert (
        set(comment["labels"])
        <= set(comment["probabilities"])
        == {"insult", "profanity", "spam", "threat"}
    )


def test_every_task_is_swept(place: Place, tiny_bert: Path) -> None:
    lines = [
        ["sweep", f"task={task}", *QUICK, *tiny(task, tiny_bert), "trials=1", "epochs=1"]
        for task in TASKS
    ]
    for task, answer in zip(TASKS, place.commands(*lines), strict=True):
        assert [entry["rank"] for entry in answer["leaderboard"]] == [1] and answer["best"], task
        assert "learning_rate" in answer["leaderboard"][0]["values"], task
        assert (place.folder / answer["best"] / "model" / "model.safetensors").is_file()


def test_the_commands_of_the_readmes_resolve(place: Place) -> None:
    for name in ("comments.csv", "pairs.csv", "reviews.csv", "sentences.jsonl"):
        (place.folder / name).touch()
    found = [words for name in PACKAGES for words in commands(EXAMPLES / name / "README.md")]
    assert len(found) > 12
    place.call("-c", RESOLVE, text=json.dumps(found))


def commands(page: Path) -> list[list[str]]:
    """Return the words of the `ftr run` and `ftr sweep` commands of a page."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    lines = [
        shlex.split(line)
        for block in blocks
        for line in block.splitlines()
        if line.startswith(("ftr run", "ftr sweep"))
    ]
    return [line[1:] for line in lines]
