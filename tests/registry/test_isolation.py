"""What a plugin does to the process that imports it is undone, and said in one line; the plugin
loads.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from ftr.registry.isolation import captured_prints, isolated, loading

Installer = Callable[..., None]
Ftr = Callable[..., "subprocess.CompletedProcess[str]"]

HEAD = "@ftr.hookimpl\ndef ftr_heads(): return [ftr.HeadSpec(name='kept', target='a:B')]\n"
UNDONE = "when it was imported; that was undone: a hook module only registers"
RUDE = {
    "prints": ("print('hello', 'you')\nprint('and more')", "printed `hello you` and more"),
    "complains": ("import sys\nsys.stderr.write('oh no\\n')", "printed `oh no`"),
    "silences": (
        "import warnings\nwarnings.simplefilter('ignore')",
        "changed the warnings filters",
    ),
    "logs": ("import logging\nlogging.basicConfig(level=10)", "changed logging (the root logger)"),
    "mutes": (
        "import logging\nlogging.getLogger('transformers').setLevel(50)",
        "changed logging (transformers)",
    ),
    "sets": (
        "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '7'",
        "changed `os.environ` (CUDA_VISIBLE_DEVICES)",
    ),
    "unsets": ("import os\ndel os.environ['LANGUAGE']", "changed `os.environ` (LANGUAGE)"),
    "does it all": (
        "import os, warnings\nos.environ['A'] = '1'\nwarnings.simplefilter('ignore')\nprint('hi')",
        "changed the warnings filters and `os.environ` (A) and printed `hi`",
    ),
}


@pytest.mark.parametrize("case", RUDE)
def test_a_plugin_that_is_no_good_guest_loads_and_is_named_in_one_line(
    install: Installer, ftr: Ftr, case: str
) -> None:
    source, told = RUDE[case]
    install("rude", f"{HEAD}{source}\n", version="1.2")
    result = ftr("list", "heads", "--json", LANGUAGE="en")
    assert (result.returncode, result.stderr) == (
        0,
        f"ftr: plugin `rude` (rude-dist 1.2): {told} {UNDONE}\n",
    )
    assert "kept" in [entry["name"] for entry in json.loads(result.stdout)]


def test_the_line_stands_in_ftr_plugins_too(install: Installer, ftr: Ftr) -> None:
    install("rude", f"{HEAD}print('hello')\n")
    assert f"\n  note: printed `hello` {UNDONE}\n" in ftr("plugins").stdout
    records = {
        record["name"]: record["notes"] for record in json.loads(ftr("plugins", "--json").stdout)
    }
    assert records.pop("rude") == [f"printed `hello` {UNDONE}"]
    assert {"qa", "sentiment", "huggingface"} <= set(records) and not any(records.values())


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
    assert (
        dict(os.environ),
        list(warnings.filters),
        logging.root.level,
        logging.root.handlers,
    ) == (environment, filters, level, handlers)
    assert not logger.disabled
    told = (
        "changed the warnings filters and logging (somebody.else, the root logger) and "
        "`os.environ` (NEW, PATH) and printed `gone`"
    )
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
    install(
        "guest", f"import chatter\nimport logging\nlogging.getLogger(__name__).setLevel(10)\n{HEAD}"
    )
    assert ftr("list").stderr == ""
    monkeypatch.syspath_prepend(str(site))
    with monkeypatch.context() as patch, warnings.catch_warnings():
        patch.setenv("CHATTER", "0")
        with isolated("guest") as found:
            os.environ["OWN"] = "1"
            import chatter  # type: ignore[import-not-found]

            logging.getLogger("chatter").setLevel(50)
        assert (
            chatter.__name__ in sys.modules
            and os.environ["CHATTER"] == "1"
            and "OWN" not in os.environ
        )
        assert any(
            entry[1] is not None and entry[1].pattern == "chatter" for entry in warnings.filters
        )
        logger = logging.getLogger("chatter")
        assert len(logger.handlers) == 1 and logger.level == 0
    assert found.note == f"changed logging (chatter) and `os.environ` (OWN) {UNDONE}"
    del sys.modules["chatter"]


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_other_threads_print_and_import_meanwhile_as_ever(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "elsewhere.py").write_text(
        "loader = type(__loader__).__name__, type(__spec__.loader).__name__\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(site))
    place = sys.stdout, sys.stderr, sys.meta_path, list(sys.meta_path)
    with isolated("guest") as found:
        in_thread(lambda: (print("mine"), print("too", file=sys.stderr), __import__("elsewhere")))
        print("the guest's")
    assert (found.printed, capsys.readouterr()) == ("the guest's\n", ("mine\n", "too\n"))
    assert sys.modules.pop("elsewhere").loader == ("SourceFileLoader", "SourceFileLoader")
    with isolated("guest"):
        import elsewhere  # type: ignore[import-not-found]
    assert elsewhere.loader == ("SourceFileLoader", "SourceFileLoader"), (
        "a module sees no other loader than its own"
    )
    del sys.modules["elsewhere"]
    assert (sys.stdout, sys.stderr, sys.meta_path, list(sys.meta_path)) == place
    assert sys.meta_path is place[2]


def test_threads_that_catch_prints_at_once_leave_the_streams_as_they_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    streams, inner, outer = (sys.stdout, sys.stderr), threading.Event(), threading.Event()
    caught: list[str] = []

    def late() -> None:
        with captured_prints("stdout", "stderr") as text:
            inner.set()
            outer.wait(10)
            print("late")
        caught.extend(text)

    thread = threading.Thread(target=late)
    with captured_prints("stdout", "stderr") as text:
        thread.start()
        inner.wait(10)
        print("early")
    print("between")
    outer.set()
    thread.join()
    assert ("".join(text), "".join(caught), capsys.readouterr().out) == (
        "early\n",
        "late\n",
        "between\n",
    )
    assert (sys.stdout, sys.stderr) == streams


def test_one_thread_at_a_time_loads_and_a_forked_process_does_not_wait_for_it() -> None:
    order: list[str] = []

    def second() -> None:
        with loading():
            order.append("second")

    with loading(), loading():
        thread = threading.Thread(target=second)
        thread.start()
        in_thread(lambda: order.append(f"the fork left with {forked(second)}"))
        order.append("first")
    thread.join(10)
    assert order == ["the fork left with 0", "first", "second"]


def forked(work: Callable[[], None]) -> int:
    """Return the exit code of a forked process that does `work`, or of SIGALRM when it takes
    long.
    """
    child = os.fork()
    if not child:
        signal.alarm(10)
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1]
