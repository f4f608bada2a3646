"""The examples are packages of strangers: built, installed, found, tested, trained, asked and swept
as such.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from interruptions import outcome
from wheels import EXAMPLES, PACKAGES, TUTORIAL, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TASKS = {
    "chinese-sentiment": ("ftr-chinese-sentiment", "accuracy", set()),
    "ingredients": ("ftr-ner", "entity_f1", {"whole_lines"}),
    "paraphrase": ("ftr-similarity", "spearman", {"within_one"}),
    "tickets": ("ftr-tickets", "urgent_f1", {"accuracy"}),
    "toxic-labels": ("ftr-toxic-labels", "micro_f1", {"jaccard"}),
}
"""Each task with its package, the score that ranks, and the scores of its own metric."""
KILLED, SWEPT = ("ingredients", "tickets"), ("paraphrase", "toxic-labels")
"""Commands take half a minute a task: each kind of head is killed or swept, not both."""
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
    "tickets": {"text": "The server is on fire!"},
    "toxic-labels": {"text": "Thank you for the pictures."},
}
CHECKS = "not two_workers and not trials_of_a_sweep and not roberta and not distilbert and not gpt2"
"""All but the checks that start Ray, as the sweeps below do, and heads on one family of models."""
OFTEN = ("train.save_steps=2", "train.logging_steps=1")
PLAIN = """
import json, sys
sys.modules["ftr"] = None
import transformers
found = {}
for task, path in json.load(sys.stdin).items():
    config = transformers.AutoConfig.from_pretrained(path)
    model = getattr(transformers, config.architectures[0]).from_pretrained(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    logits = model(**tokenizer("a text", return_tensors="pt")).logits
    assert logits.shape[-1] == len(config.id2label)
    found[task] = list(config.id2label.values())
print(json.dumps(found))
"""
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
    assert plugins.keys() >= {*PACKAGES, TUTORIAL}
    for name in (*PACKAGES, TUTORIAL):
        plugin = plugins[name]
        assert (plugin["status"], plugin["shadowed"]) == ("loaded", [])
        assert Path(plugin["origin"]).is_relative_to(place.folder.parent / "venv")
    assert set(TASKS) <= {task["name"] for task in place.ftr("list", "task")}


def test_the_packages_keep_the_contract_and_pass_their_own_tests(place: Place) -> None:
    folders = [str(place.folder / name / "tests") for name in (*PACKAGES, TUTORIAL)]
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
        rows = run["record"]["data"]["splits"]["test"]["row_count"]
        assert (evaluation["split"], evaluation["rows"]) == ("test", rows)
        assert evaluation["scores"][score] == pytest.approx(run["scores"][score], abs=1e-6)


def test_every_task_answers_rows_without_labels(answers: dict[str, list[Any]]) -> None:
    (review,), (sentence,), (pair,), (ticket,), (comment,) = (answers[task][1] for task in TASKS)
    assert ticket["label"] in ("calm", "urgent")
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


def test_a_task_is_resumed_after_a_kill(place: Place, tiny_bert: Path) -> None:
    """The run that is killed ends with the weights, scores and predictions of one that is not."""
    settings = {
        task: [f"task={task}", *QUICK, *tiny(task, tiny_bert), "epochs=40", *OFTEN]
        for task in KILLED
    }
    place.commands(*(["run", *words, f"output=whole-{task}"] for task, words in settings.items()))
    for task, words in settings.items():
        left = killed(
            place, ["run", *words, f"output=killed-{task}"], place.folder / f"killed-{task}"
        )
        place.commands(["resume", str(left)])
        (whole,) = (place.folder / f"whole-{task}").iterdir()
        one, other = outcome(whole), outcome(left)
        assert [key for key in one if one[key] != other[key]] == [], task


def killed(place: Place, words: list[str], folder: Path) -> Path:
    """Start a training, kill its process after a checkpoint, and return the run directory."""
    process = subprocess.Popen(
        [place.python, "-m", "ftr", *words],
        cwd=place.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None and not list(folder.glob("*/checkpoints/*")):
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.kill()
        process.wait()
    (left,) = folder.iterdir()
    assert json.loads((left / "run.json").read_text(encoding="utf-8"))["status"] != "done"
    return left


def test_every_model_loads_in_plain_transformers(
    place: Place, answers: dict[str, list[Any]]
) -> None:
    models = {task: found[0]["model"] for task, found in answers.items()}
    labels = json.loads(place.call("-c", PLAIN, text=json.dumps(models)))
    assert set(labels["tickets"]) == {"calm", "urgent"}
    assert {"B-FOOD", "O"} <= set(labels["ingredients"]) and len(labels["toxic-labels"]) == 4
    assert len(labels["paraphrase"]) == 1 and len(labels["chinese-sentiment"]) == 3


def test_a_task_is_swept(place: Place, tiny_bert: Path) -> None:
    lines = [
        ["sweep", f"task={task}", *QUICK, *tiny(task, tiny_bert), "trials=1", "epochs=1"]
        for task in SWEPT
    ]
    for task, answer in zip(SWEPT, place.commands(*lines), strict=True):
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
