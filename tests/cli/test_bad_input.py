"""What goes wrong on a user's side: the exit code, one message with the mend, no noise, and nothing
half written.
"""

import gzip
import json
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from disks import small_disk
from ftr.cli.main import main
from trainings import write_csv, write_reviews

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

REQUEST, MACHINE = 2, 1
NOISE = ("Traceback", "Warning", "warn(", "thrown while", "Retrying", "site-packages", "it/s]")


@dataclass
class Door:
    """The `ftr` command in `folder`; every failure is checked for manners before its message is
    given back.
    """

    folder: Path
    model: Path
    capture: pytest.CaptureFixture[str]

    def fails(self, *arguments: str, code: int = REQUEST) -> str:
        self.capture.readouterr()
        assert main(arguments) == code
        out, err = self.capture.readouterr()
        assert out == ""
        return one_message(err)

    def run(self, *arguments: str, task: str = "sentiment", code: int = REQUEST) -> str:
        """Ask for a training that must be refused, and check that it leaves nothing behind."""
        chosen = (
            [] if any(word.startswith("model=") for word in arguments) else [f"model={self.model}"]
        )
        before = set(self.folder.rglob("*"))
        message = self.fails(
            "run", f"task={task}", "train.precision=fp32", *chosen, *arguments, code=code
        )
        left = {path for path in self.folder.rglob("*") if path != self.folder / "runs"} - before
        # The rows because of which data is refused, which the message names.
        left -= {self.folder / "runs" / "refused_rows.jsonl"}
        assert not left
        assert not list(Path(os.environ["FTR_CACHE"]).rglob("*.new-*"))
        return message


def one_message(err: str) -> str:
    """Return the last line of stderr, which must be the only error there; before it stand notes on
    the data.
    """
    assert not [word for word in NOISE if word in err], err
    *notes, last = err.removesuffix("\n").split("\n")
    assert last.startswith("ftr: error: "), err
    assert not any("error" in note for note in notes), err
    return last.removeprefix("ftr: error: ")


@pytest.fixture
def ftr(
    tmp_path: Path,
    tiny_bert: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Door:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_reviews(folder / "good.csv", broken=0)
    return Door(folder, tiny_bert, capfd)


def squad(broken: int) -> str:
    """Return 60 questions on 30 passages as SQuAD JSON; the offsets of the first `broken` do not
    match.
    """
    paragraphs: list[dict[str, Any]] = []
    for number in range(30):
        context = (
            f"the old mill number {number} stands by the river and was built by two brothers ."
        )
        qas = []
        for part, answer in enumerate(("two brothers", "the river")):
            start = 1 if 2 * number + part < broken else context.index(answer)
            qas.append(
                {
                    "id": f"{number}-{part}",
                    "question": "what about it ?",
                    "answers": [{"text": answer, "answer_start": start}],
                }
            )
        paragraphs.append({"context": context, "qas": qas})
    return json.dumps({"version": "1.1", "data": [{"title": "mills", "paragraphs": paragraphs}]})


FILES: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "empty.csv` is empty"),
    "header.csv": (b"text,label\n", "header.csv` holds no rows"),
    "one-label.csv": (
        b"text,label\n" + b"fine,good\n" * 20,
        "`one-label.csv`: all 20 usable rows have the same `label`, `good`",
    ),
    "latin.csv": (
        b"text,label\nfine,good\ncaf\xe9,bad\n",
        "latin.csv` is not utf-8: byte 24, on line 3, cannot be decoded. Give its encoding",
    ),
    "wide.csv": (
        "text,label\nfine,good\n".encode("utf-16"),
        "for example `dataset.encoding=utf-16`",
    ),
    "binary.csv": (bytes(range(256)) * 4, "It seems to be a binary file"),
    "table.csv": (b"PAR1\xff\xff\x00", "It is a Parquet file: give `dataset.format=parquet`"),
    "sheet.csv": (b"PK\x03\x04\xff\xff\x00", "is a zip archive that cannot be read"),
    "cut.csv.gz": (
        gzip.compress(random.Random(0).randbytes(4000))[:2000],
        "cut.csv.gz` is a damaged or truncated gzip file: 2000 bytes hold",
    ),
    "cut.json": (
        b'[{"text": "fine", "label": "good"}, {"te',
        "`cut.json` is not valid JSON at line 1, column",
    ),
    "no.parquet": (b"no such thing", "no.parquet` is not a readable Parquet file"),
    "quote.csv": (b'text,label\nfine,good\n"open,bad\n', "`quote.csv`, row beginning on line 3"),
    "rows.docx": (b"fine", "the ending `.docx` tells no format"),
    "nulls.csv": (b"text,label\n" + b"\0\0\n" * 20, "`nulls.csv`: 20 of 20 rows cannot be used"),
    "twice.csv": (
        b"id,text,label\n" + b"1,fine,good\n2,poor,bad\n" * 10,
        "(duplicate id: 18, first `twice.csv:4` (`dataset.id=none` numbers the rows))",
    ),
    "unique.csv": (
        b"text,label\n" + b"".join(b"fine,%d\n" % n for n in range(40)),
        "`label` has 40 different values in 40 rows",
    ),
    "rare.csv": (
        b"text,label\n" + b"fine,good\npoor,bad\n" * 10 + b"odd,strange\n",
        "the class `strange` has 1 of 21 rows",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_used_is_named_with_the_place_and_the_mend(
    ftr: Door, name: str
) -> None:
    content, expected = FILES[name]
    (ftr.folder / name).write_bytes(content)
    assert expected in ftr.run(f"dataset={name}")


def test_a_gpu_that_is_not_here_is_refused(ftr: Door) -> None:
    message = ftr.run("dataset=good.csv", "compute.gpus=64")
    assert "`compute.gpus=64`: torch finds" in message


CAUSES = {
    "one-class.csv": (
        "text,label",
        ",good",
        20,
        "column `label` has one class, `good` in each row",
    ),
    "few.csv": ("text,label", ",good\na dull and poor film,bad", 1, "2 rows are too few to tell"),
    "text.csv": ("text", "", 20, "it has one column, and a task needs one to learn"),
    "caret.csv": ("text^label", "^good", 20, "`^` in each row: set `'dataset.delimiter=^'`"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_a_file_that_no_task_can_learn_from_is_refused_with_the_cause(
    ftr: Door, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    header, rest, rows, cause = CAUSES[name]
    lines = (f"the film that we saw in year {2000 + n} was fine{rest}" for n in range(rows))
    (ftr.folder / name).write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    assert main(["run", name]) == REQUEST
    first, *_ = capfd.readouterr().err.splitlines()
    assert first.startswith(f"ftr: error: {name} fits no task: ") and cause in first


def test_a_missing_file_or_column_or_split_is_named_with_what_is_there(ftr: Door) -> None:
    assert (
        ftr.run("dataset=goood.csv")
        == "dataset `goood.csv` (command line): there is no such file or folder. Did you mean "
        "`good.csv`?"
    )
    assert ftr.run("dataset=good.csv", "dataset.text=body") == (
        "`dataset.text=body`: `good.csv` has no such column. Its columns: `review`, `sentiment`"
    )
    assert "has no column `question`" in ftr.run("dataset=good.csv", task="qa")
    for folder, names in {
        "none": [],
        "many": ["a.csv", "b.csv"],
        "twice": ["train.csv", "train.tsv"],
        "tests": ["test.csv"],
    }.items():
        (ftr.folder / folder).mkdir()
        for name in names:
            shutil.copy(ftr.folder / "good.csv", ftr.folder / folder / name)
    assert "holds no data files (known endings: .csv" in ftr.run("dataset=none")
    assert (
        "no file name says train, validation or test: `a.csv`, `b.csv`. Give `dataset.train=FILE`"
        in ftr.run("dataset=many")
    )
    assert (
        "several files for train: `train.csv` and `train.tsv`. Choose with `dataset.train=FILE`"
        in ftr.run("dataset=twice")
    )
    assert "there are no training rows, only test" in ftr.run("dataset=tests")


def test_answers_that_do_not_stand_at_their_offset_stop_the_run_only_when_they_are_many(
    ftr: Door,
) -> None:
    (ftr.folder / "many.json").write_text(squad(broken=10), encoding="utf-8")
    message = ftr.run("dataset=many.json", task="qa")
    for fact in (
        "`many.json`: 10 of 60 rows",
        "`data.max_invalid=0.05`",
        "`many.json:data[0].paragraphs[0].qas[0]`",
        "`runs/refused_rows.jsonl`",
    ):
        assert fact in message
    (ftr.folder / "one.json").write_text(squad(broken=1), encoding="utf-8")
    # One bad row in sixty is counted and the run goes on, here to the next thing that is wrong.
    assert "`data.max_length` = 64 leaves no room for the context" in ftr.run(
        "dataset=one.json", "data.max_length=64", task="qa"
    )


VALUES = {
    "batch_size=0": "`batch_size` is 0 (command line): it should be greater than or equal to 1.",
    "epochs=nan": "`epochs` is 'nan' (command line): it should be a finite number.",
    "learning_rate=-1": "`learning_rate` is -1 (command line): it should be greater than 0.",
    "learning_rate=true": "a number is needed, not true or false",
    "output=": "`output` is empty (command line)",
    "learnin_rate=1": "`learnin_rate` (command line) is not a key. Did you mean `learning_rate`?",
    "head=extractive_qa": "unknown head `extractive_qa`. Did you mean `extractive-qa`? Available:",
    "metrics=acuracy": "unknown metric `acuracy`. Did you mean `accuracy`?",
    "dataset=hub:": "write `hub:owner/name`",
    "dataset=sst": "Did you mean `sst2`?",
    "trainer.learning_rate=1": "use `learning_rate`, ftr's own key for it",
    "trainer.adam_beta1=much": "`trainer.adam_beta1` is 'much' (command line): it should be a "
    "valid number",
    "trainer.torch_compile=maybe": "`trainer.torch_compile` is 'maybe' (command line): it should "
    "be `true` or `false`",
    "data.stride=64": "`data.stride` (64) must be below `data.max_length` (64): lower "
    "`data.stride` or raise `data.max_length`",
    "foo": "`foo` (command line) is not `key=value`",
    "config=broken.yaml": "`broken.yaml` is not YAML: line 3, column 7",
    "config=unknown.yaml": "`epoch` (config file unknown.yaml) is not a key. Did you mean "
    "`epochs`?",
    "config=none.yaml": "there is no file `none.yaml`",
}


MISSPELLED = {
    "rnu task=qa": "unknown command `rnu`. Did you mean `run`?",
    "run task=qa train.lr_scheduler=cosin": "(command line): it should be 'linear', 'cosine', "
    "'cosine_with_restarts', 'cosine_with_min_lr', 'cosine_warmup_with_min_lr', 'polynomial', "
    "'constant', 'constant_with_warmup', 'inverse_sqrt', 'reduce_lr_on_plateau' or "
    "'warmup_stable_decay'. Did you mean `cosine`?",
    "run task=qa baselines=ture": "`baselines` is 'ture' (command line): it should be `true` or "
    "`false`. Did you mean `true`?",
    "sweep task=qa searcher=optna": "Did you mean `optuna`?",
    "sweep task=qa sercher=optuna": "`sercher` (command line) is not a key. Did you mean `searcher`",
    "run config=conf.yaml": "`head` (config file conf.yaml): unknown head `extractive-q`. Did you "
    "mean `extractive-qa`?",
    "train": "unknown command `train`. Did you mean `ftr run`?",
    "ls": "Did you mean `ftr runs`?",
    "rm": "Did you mean `ftr runs --rm RUN`?",
    "run good.csv --lr=1e-5": "Settings are written `key=value`, without dashes: "
    "`learning_rate=1e-5`.",
    "run good.csv --learning-rate 1e-5": "without dashes: `learning_rate=1e-5`.",
    "run task=qa epochs = 3": "Write no spaces around `=`: `epochs=3`.",
    "run task=qa epochs= 3": "Write no spaces around `=`: `epochs=3`.",
    "run task=qa epochs =3": "Write no spaces around `=`: `epochs=3`.",
    "run two words.csv": "Quote a name with spaces: `'two words.csv'`.",
    "resume": "arguments are required: run. See",
    "sweep learning_rate=[1e-5,1e-4]": "To search these write `choice(1e-5,1e-4)`.",
    "predict new.csv": "the run is missing: `ftr predict RUN new.csv`.",
    "run good.csv label=stars": "`label` (command line) is not a key. Did you mean `dataset.label`?",
    "run good.csv data.text=body": "Did you mean `dataset.text`?",
    "run good.csv labels=stars": "Did you mean `dataset.label` or `dataset.labels`?",
    "run good.csv device=cuda": "Did you mean `compute.gpus`?",
    "run good.csv patience=2": "of `ftr sweep`, not of a run. Did you mean `train.early_stopping_patience`?",
    "sweep good.csv patience=2": "is called `min_gain` now",
    "run good.csv revision=main": "Did you mean `dataset.revision` or `model.revision`?",
    "run good.csv gradients=0": "is not a key. `ftr show` lists the keys, `ftr help gradients` "
    "searches them.",
    "run good.csv data.xyzzy=0": "is not a key. `ftr help data` lists the keys of `data`.",
    "run good.csv task=Text_Classification": "unknown task `Text_Classification`. Use "
    "`task=sentiment` (give a text one label: its sentiment, or any other) or `task=topics` (",
    "run task=qqa": "`task` (command line): unknown task `qqa`. Did you mean `qa`?",
    "run task=qa metrics=sqaud": "`metrics` (command line): unknown metric `sqaud`. Did you mean "
    "`squad`?",
    "run task=qa tracker=wndb": "Did you mean `wandb`?",
    "run config=cnf.yaml": "there is no file `cnf.yaml`. Did you mean `conf.yaml`?",
    "run god.csv": "dataset `god.csv` (command line): there is no such file or folder. Did you mean "
    "`good.csv`?",
    "predict fisrt good.csv": "Did you mean `first`?",
    "evaluate runs/fisrt": "Did you mean `first`?",
    "runs fisrt": "Did you mean `first`?",
    "compare fisrt first": "Did you mean `first`?",
    "report fisrt": "Did you mean `first`?",
    "resume fisrt": "Did you mean `first`?",
    "compare first first --split tset": "Did you mean `test`?",
    "run task=qa --jsn": "Did you mean `--json`?",
    "list taks": "Did you mean `task`?",
    "show task=qa trian": "Did you mean `train`?",
    "help predit": "Did you mean `predict`?",
}


@pytest.mark.parametrize("line", MISSPELLED)
def test_a_misspelled_word_is_refused_with_its_origin_and_the_nearest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf.yaml").write_text("task: qa\nhead: extractive-q\n", encoding="utf-8")
    (tmp_path / "good.csv").write_text("text,label\nfine,good\n", encoding="utf-8")
    (tmp_path / "two words.csv").write_text("text,label\nfine,good\n", encoding="utf-8")
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "run.json").write_text("{}", encoding="utf-8")
    assert main(line.split()) == REQUEST
    assert MISSPELLED[line] in one_message(capsys.readouterr().err)


@pytest.mark.parametrize("word", VALUES)
def test_a_wrong_key_or_value_is_refused_before_anything_is_read(ftr: Door, word: str) -> None:
    (ftr.folder / "broken.yaml").write_text("seed: 1\nepochs: [\n  a: b: c\n", encoding="utf-8")
    (ftr.folder / "unknown.yaml").write_text("epoch: 1\n", encoding="utf-8")
    given = [] if word.startswith("dataset=") else ["dataset=good.csv"]
    assert VALUES[word] in ftr.run("data.max_length=64", *given, word)


def test_a_model_directory_that_cannot_be_used_is_refused_with_the_reason(ftr: Door) -> None:
    def broken(name: str) -> Path:
        return Path(shutil.copytree(ftr.model, ftr.folder / name))

    def refused(name: str) -> str:
        return ftr.run("dataset=good.csv", "data.max_length=32", f"model={name}")

    (broken("bare") / "model.safetensors").unlink()
    assert (
        "has no weights, no `*.safetensors` file. Save the model there with `save_pretrained`."
        in refused("bare")
    )
    (ftr.folder / "bare" / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    assert "`pytorch_model.bin` is a pickle, which ftr does not load" in refused("bare")
    weights = broken("cut") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert "cut`: cannot read its weights: " in refused("cut")
    (broken("mute") / "tokenizer.json").unlink()
    (ftr.folder / "mute" / "tokenizer_config.json").unlink()
    assert "has no tokenizer: save its files" in refused("mute")
    (broken("odd") / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert "odd`: cannot read its tokenizer" in refused("odd")
    settings = json.loads((ftr.model / "config.json").read_text(encoding="utf-8"))
    for name, change, expected in (
        ("wide", {"hidden_size": 48}, "wide`: its weights do not fit its config, a `bert`: "),
        (
            "deep",
            {"num_hidden_layers": 3},
            "missing or of another shape, the first `bert.encoder.layer.2.",
        ),
        (
            "seer",
            {"model_type": "vit"},
            "seer` is a `vit`, and transformers has no `AutoModelForSequenceClassification` of "
            "that kind",
        ),
        ("strange", {"model_type": "strange"}, "strange`: cannot read its config: "),
    ):
        (broken(name) / "config.json").write_text(
            json.dumps({**settings, **change}), encoding="utf-8"
        )
        assert expected in refused(name)


def test_what_the_hub_does_not_give_is_a_request_that_names_the_way_out(ftr: Door) -> None:
    began = time.monotonic()
    message = ftr.run("dataset=good.csv", "model=minilmm")
    assert time.monotonic() - began < 15  # `huggingface_hub` alone pauses for 23 s
    assert message.startswith("model `minilmm`: cannot read its config: ")
    assert "can this machine reach the hub? Did you mean `minilm`?" in message
    assert "without a network give a file instead: `dataset=FILE.csv`" in ftr.run(
        "dataset=hub:owner/name"
    )


def test_a_place_that_cannot_be_written_to_is_named_before_any_work(ftr: Door) -> None:
    message = ftr.run("dataset=good.csv", "output=good.csv/runs")
    assert message.endswith("good.csv` is a file. Give another place with `output=`.")
    message = ftr.run("dataset=good.csv", "data.cache=good.csv")
    assert message.startswith("`data.cache` is `") and message.endswith("is a file: name a folder.")


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, 96) as place:
        yield place


def test_a_full_disk_ends_the_run_with_a_readable_record_and_no_half_model(
    ftr: Door, small_disk: Path
) -> None:
    asked = (
        "run",
        "task=sentiment",
        f"model={ftr.model}",
        "dataset=good.csv",
        "epochs=1",
        "data.max_length=32",
    )
    message = ftr.fails(*asked, f"output={small_disk}", code=MACHINE)
    assert "cannot write the model to" in message and message.endswith(
        "Free space or give another `output=`."
    )
    [run] = small_disk.iterdir()
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints",
        "metrics.jsonl",
        "run.json",
    ]
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed" and "No space left" in record["error"]
    (small_disk / "rest").write_bytes(
        b"x" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize)
    )
    message = ftr.run("dataset=good.csv", f"data.cache={small_disk / 'cache'}")
    assert "needs about 0." in message and "has 0.0 MB free. Free space, or set another" in message
    assert "No space left on device" in ftr.run(
        "dataset=good.csv", "data.max_length=32", f"output={small_disk}", code=MACHINE
    )
    assert sorted(path.name for path in small_disk.rglob("*") if path.is_file()) == [
        "attempts.jsonl",
        "metrics.jsonl",
        "rest",
        "run.json",
    ]


def test_a_file_size_limit_leaves_the_old_file_or_none(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; import sys; from ftr import atomic; "
        "atomic.write_text(Path(sys.argv[1]), 'x' * 100_000)"
    )
    target = tmp_path / "file.json"
    target.write_text("old", encoding="utf-8")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        [sys.executable, "-c", script, str(target)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RunError: cannot write" in done.stderr and "File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"] and target.read_text(
        encoding="utf-8"
    ) == "old"


def test_predict_refuses_what_it_cannot_read(ftr: Door, classifier: "RunResult") -> None:
    run = str(classifier.path)
    write_csv(ftr.folder / "other.csv", ("a", "b"), [("1", "2")])
    assert (
        ftr.fails("predict", run, "god.csv")
        == "file `god.csv` does not exist. Did you mean `good.csv`?"
    )
    assert "`other.csv` has no column `text`" in ftr.fails("predict", run, "other.csv")
    assert "dataset `good.csv` has no option `txt`. Did you mean `text`?" in ftr.fails(
        "predict", run, "good.csv", "dataset.txt=a"
    )
    assert "`dataset.header` is 'maybe' (command line)" in ftr.fails(
        "predict", run, "good.csv", "dataset.header=maybe"
    )
    assert "`--format squad` is for question answering" in ftr.fails(
        "predict", run, "good.csv", "--format", "squad"
    )
    assert "takes only `dataset.*` settings" in ftr.fails("predict", run, "good.csv", "epochs=3")
    assert "`nowhere` is not a run directory" in ftr.fails("predict", "nowhere", "good.csv")
    assert "cannot write" in ftr.fails(
        "predict", run, "good.csv", "--output", "good.csv/out.jsonl", code=MACHINE
    )
    assert not list(ftr.folder.rglob("*.new-*"))


def test_evaluate_refuses_what_it_cannot_score(ftr: Door, classifier: "RunResult") -> None:
    run = str(classifier.path)
    assert "invalid choice: 'tst'" in ftr.fails("evaluate", run, "--split", "tst")
    assert "`--split validation`: the data has only `train`" in ftr.fails(
        "evaluate", run, "dataset=good.csv", "--split", "validation"
    )
    assert "an evaluation can set only `dataset.*` and `data.*`" in ftr.fails(
        "evaluate", run, "learning_rate=1"
    )
    write_csv(ftr.folder / "other.csv", ("text", "label"), [("fine", "strange")] * 9)
    assert "(label not known to the model: 9, first `other.csv:2`)" in ftr.fails(
        "evaluate", run, "dataset=other.csv"
    )


def test_a_damaged_run_is_named_by_the_file_that_is_damaged(
    ftr: Door, classifier: "RunResult"
) -> None:
    def damaged(name: str, path: str, content: str | None) -> str:
        run = ftr.folder / name
        shutil.copytree(classifier.path, run)
        if content is None:
            shutil.rmtree(run / path) if (run / path).is_dir() else (run / path).unlink()
        else:
            (run / path).write_text(content, encoding="utf-8")
        return name

    no_model = damaged("no-model", "model", None)
    assert (
        ftr.fails("predict", no_model, "good.csv")
        == "run `no-model` has no model yet: its status is in `no-model/run.json`."
    )
    no_weights = damaged("no-weights", "model/model.safetensors", None)
    assert "no-weights/model` has no weights" in ftr.fails("predict", no_weights, "good.csv")
    cut_card = damaged("cut-card", "model/ftr.json", '{"head":')
    assert "`cut-card/model/ftr.json` is damaged" in ftr.fails("predict", cut_card, "good.csv")
    for number, content in enumerate(('{"sta', "[]", "{}")):
        record = damaged(f"record-{number}", "run.json", content)
        assert f"`record-{number}/run.json` " in ftr.fails("evaluate", record)
    assert main(["runs", "."]) == 0
    shown = ftr.capture.readouterr().out
    assert shown.count("unreadable") == 3 and shown.count(" done ") == 3
