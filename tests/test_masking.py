"""Secrets in settings are used, and neither stored nor shown; a record is completed by giving them
again.
"""

from pathlib import Path

import pytest

import ftr
from ftr import atomic
from ftr.cli.main import main
from ftr.config.resolve import recorded_config, resolve
from ftr.config.schema import RunConfig
from ftr.errors import ConfigError, RequestError
from ftr.registry.registry import get_registry
from ftr.runs.directory import RunDirectory
from ftr.study.directory import Journal
from ftr.study.resume import resume
from ftr.terminal import is_secret, mask, masked, remember, unmasked
from trainings import REVIEWS

STORAGE = "s3://key:se/cret77@bucket/folder?endpoint_override=localhost:1&secret_key=hidden88"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (STORAGE, "s3://***@bucket/folder?endpoint_override=localhost:1&secret_key=***"),
        ("error at `compute.storage=s3://a:b@c/d`", "error at `compute.storage=s3://***@c/d`"),
        ("head.api_key=abc", "head.api_key=***"),
        ("Bearer hf_" + "a" * 34, "Bearer ***"),
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("pad_token=[PAD] max_tokens=4", "pad_token=[PAD] max_tokens=4"),
        ("https://host/@user", "https://host/@user"),
    ],
)
def test_secrets_are_known_by_form(text: str, shown: str) -> None:
    assert mask(text) == shown


def test_secrets_are_known_by_key() -> None:
    keys = (
        "trainer.hub_token",
        "dataset.token",
        "head.password",
        "model.api_key",
        "a.client_secret",
        "hf_token",
    )
    assert all(map(is_secret, keys)) and not any(
        map(is_secret, ("data.max_length", "head.pad_token", "dataset.tokens", "keys"))
    )
    record = {
        "config": {"head": {"options": {"password": "x"}}},
        "origins": {"head.password": "command line"},
    }
    assert masked(record) == {
        "config": {"head": {"options": {"password": "***"}}},
        "origins": {"head.password": "command line"},
    }


def test_records_journals_and_tracebacks_hold_no_secret(tmp_path: Path) -> None:
    remember("head.password", "geheim99")
    record = {
        "config": {"compute": {"storage": STORAGE}},
        "command": ["ftr", f"compute.storage={STORAGE}"],
        "error": "bad geheim99",
    }
    directory = RunDirectory(tmp_path)
    directory.write(record)
    directory.keep_traceback(ValueError("geheim99"))
    Journal(tmp_path / "journal.jsonl").append("end", cause=f"no geheim99 at {STORAGE}")
    atomic.write_json(tmp_path / "ftr.json", {"head_options": {"password": "geheim99"}})
    text = "".join(file.read_text(encoding="utf-8") for file in tmp_path.iterdir())
    assert (
        not any(secret in text for secret in ("geheim99", "se/cret77", "hidden88"))
        and "***" in text
    )


def test_a_masked_value_is_never_used_and_comes_back_when_it_is_given_again() -> None:
    config = {"compute": {"storage": "s3://other:word@place/x"}}
    stored = masked(config)
    assert unmasked(stored) == (stored, ["compute.storage"])
    remember("compute.storage", "s3://other:word@elsewhere/x")
    assert unmasked(stored)[1] == ["compute.storage"]
    remember("compute.storage", config["compute"]["storage"])
    assert unmasked(stored) == (config, [])


def test_show_and_messages_have_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    main(["show", "task=sentiment", f"compute.storage={STORAGE}"])
    main(["show", "task=sentiment", f"compute.storage={STORAGE}", "--json"])
    main(["run", "task=sentiment", "trainer.hub_token=hunter2hunter2"])
    main(["show", "task=sentiment", "head.password=hunter3hunter3"])
    main(
        [
            "submit",
            "--address",
            "http://127.0.0.1:1",
            "run",
            "task=sentiment",
            f"compute.storage={STORAGE}",
        ]
    )
    printed = "".join(capsys.readouterr())
    assert "***@bucket" in printed and not any(
        secret in printed for secret in ("se/cret77", "hidden88", "hunter2", "hunter3")
    )


def test_a_secret_is_not_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftr.cluster.submit import _check_secrets

    with pytest.raises(
        ConfigError, match=r"`compute.storage=s3://\*\*\*@bucket.*give `config=FILE`"
    ):
        _check_secrets(["run", f"compute.storage={STORAGE}"])


def test_resume_asks_for_the_secrets_of_an_interrupted_run(reviews: Path, tmp_path: Path) -> None:
    words = {**REVIEWS, "dataset": str(reviews)}
    config = resolve(
        {**words, "compute.storage": f"{tmp_path}/s?secret_key=first123"}, get_registry()
    ).config
    assert isinstance(config, RunConfig) and "first123" in str(config.compute.storage)
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.write({"status": "interrupted", "created": 1.0, "config": config.model_dump(mode="json")})
    assert "first123" not in run.record.read_text(encoding="utf-8")
    assert recorded_config(run.read(), run.record) == config
    resolve({**words, "compute.storage": f"{tmp_path}/other?secret_key=second12"}, get_registry())
    with pytest.raises(
        ConfigError,
        match=r"run.json` holds no secrets, only `\*\*\*`: give again .*`compute.storage=…`",
    ):
        resume(run.path)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("9.9.9", r"ftr 9\.9\.9 wrote the file: use that version \(`pip install ftr==9\.9\.9`\)"),
        (ftr.__version__, "This version wrote the file, and it was changed since"),
    ],
)
def test_a_key_of_a_newer_version_is_named_with_the_version(
    written: str, said: str, tmp_path: Path
) -> None:
    config = resolve(["task=sentiment"], get_registry()).config.model_dump(mode="json")
    config["train"]["muon"] = 1
    RunDirectory(tmp_path).write(
        {"status": "interrupted", "created": 1.0, "ftr": written, "config": config}
    )
    with pytest.raises(
        RequestError, match=rf"`.*run\.json`: ftr .* does not know the key `train\.muon`\. {said}"
    ):
        resume(tmp_path)
