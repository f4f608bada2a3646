"""What a plugin does to the process that imports it is undone, and said in one line; the plugin loads."""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from ftr.isolation import isolated

Installer = Callable[..., None]
Ftr = Callable[..., "subprocess.CompletedProcess[str]"]

HEAD = "@ftr.hookimpl\ndef ftr_heads(): return [ftr.HeadSpec(name='kept', target='a:B')]\n"
UNDONE = "when it was imported; that was undone: a hook module only registers"
RUDE = {
    "prints": ("print('hello', 'you')\nprint('and more')", "printed `hello you` and more"),
    "complains": ("import sys\nsys.stderr.write('oh no\\n')", "printed `oh no`"),
    "silences": ("import warnings\nwarnings.simplefilter('ignore')", "changed the warnings filters"),
    "logs": ("import logging\nlogging.basicConfig(level=10)", "changed logging (the root logger)"),
    "mutes": ("import logging\nlogging.getLogger('transformers').setLevel(50)", "changed logging (transformers)"),
    "sets": ("import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '7'", "changed `os.environ` (CUDA_VISIBLE_DEVICES)"),
    "unsets": ("import os\ndel os.environ['LANGUAGE']", "changed `os.environ` (LANGUAGE)"),
    "does it all": (
        "import os, warnings\nos.environ['A'] = '1'\nwarnings.simplefilter('ignore')\nprint('hi')",
        "changed the warnings filters and `os.environ` (A) and printed `hi`",
    ),
}


@pytest.mark.parametrize("case", RUDE)
def test_a_plugin_that_is_no_good_guest_loads_and_is_named_in_one_line(install: Installer, ftr: Ftr, case: str) -> None:
    source, told = RUDE[case]
    install("rude", f"{HEAD}{source}\n", version="1.2")
    result = ftr("list", "heads", "--json", LANGUAGE="en")
    assert (result.returncode, result.stderr) == (0, f"ftr: plugin `rude` (rude-dist 1.2): {told} {UNDONE}\n")
    assert "kept" in [entry["name"] for entry in json.loads(result.stdout)]


def test_the_line_stands_in_ftr_plugins_too(install: Installer, ftr: Ftr) -> None:
    install("rude", f"{HEAD}print('hello')\n")
    assert f"\n  note: printed `hello` {UNDONE}\n" in ftr("plugins").stdout
    records = {record["name"]: record["notes"] for record in json.loads(ftr("plugins", "--json").stdout)}
    assert records == {"rude": [f"printed `hello` {UNDONE}"], "qa": [], "sentiment": [], "huggingface": []}


def test_everything_is_as_it_was_also_when_the_module_fails() -> None:
    environment, filters, level = dict(os.environ), list(warnings.filters), logging.root.level
    handlers, logger = list(logging.root.handlers), logging.getLogger("somebody.else")
    with pytest.raises(ValueError, match="late"), isolated("guest") as found:  # noqa: PT012
        os.environ["NEW"] = "1"
        os.environ.pop("PATH")
        warnings.simplefilter("ignore")
        logging.root.setLevel(1)
        logging.root.addHandler(logging.NullHandler())
        logger.disabled = True
        print("gone")
        raise ValueError("late")
    assert (dict(os.environ), list(warnings.filters), logging.root.level, logging.root.handlers) == (environment, filters, level, handlers)
    assert not logger.disabled
    told = "changed the warnings filters and logging (somebody.else, the root logger) and `os.environ` (NEW, PATH) and printed `gone`"
    assert found.note == f"{told} {UNDONE}"


def test_a_stream_that_was_kept_writes_to_stderr_later(capsys: pytest.CaptureFixture[str]) -> None:
    with isolated("guest") as found:
        kept = sys.stdout
        print("now")
    kept.write("later\n")
    assert (found.printed, capsys.readouterr()) == ("now\n", ("", "later\n"))


LIBRARY = """
import logging, os, warnings
os.environ["CHATTER"] = "1"
warnings.filterwarnings("ignore", message="chatter")
logging.getLogger("chatter").addHandler(logging.NullHandler())
"""


def test_what_an_imported_library_sets_up_stays_and_is_not_laid_at_the_plugins_door(
    site: Path, install: Installer, ftr: Ftr, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "chatter.py").write_text(LIBRARY, encoding="utf-8")
    install("guest", f"import chatter\nimport logging\nlogging.getLogger(__name__).setLevel(10)\n{HEAD}")
    assert ftr("list").stderr == ""
    monkeypatch.syspath_prepend(str(site))
    with monkeypatch.context() as patch, warnings.catch_warnings():
        patch.setenv("CHATTER", "0")
        with isolated("guest") as found:
            os.environ["OWN"] = "1"
            import chatter  # type: ignore[import-not-found]

            logging.getLogger("chatter").setLevel(50)
        assert chatter.__name__ in sys.modules and os.environ["CHATTER"] == "1" and "OWN" not in os.environ
        assert any(entry[1] is not None and entry[1].pattern == "chatter" for entry in warnings.filters)
        logger = logging.getLogger("chatter")
        assert len(logger.handlers) == 1 and logger.level == 0
    assert found.note == f"changed logging (chatter) and `os.environ` (OWN) {UNDONE}"
    del sys.modules["chatter"]
