"""An error names the plugin whose code it came out of, and what is not a plugin's is left alone."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pluggy
import pytest

from ftr.errors import DataError, PluginError, in_one_line
from ftr.registry.discovery import PluginRecord
from ftr.registry.registry import Registry, plugin_errors
from ftr.registry.specs import AnySpec, HeadSpec, Kind, MetricSpec

PARTS = """
import json

class Base:
    def encode(self, rows):
        return rows["nothing"]

class Head(Base):
    def check(self, row):
        return json.loads(row)
    def leave(self):
        raise SystemExit(3)
    def call(self, function):
        return function()

def measure():
    return helper()

def helper():
    return [][1]
"""


def raising(error: BaseException) -> None:
    raise error


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Two plugins, one of which also names a class of the standard library and a function of the
    other.
    """
    (tmp_path / "lab_parts").mkdir()
    (tmp_path / "lab_parts" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "lab_parts" / "parts.py").write_text(PARTS, encoding="utf-8")
    (tmp_path / "other.py").write_text(PARTS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    specs: dict[str, tuple[tuple[Kind, AnySpec], ...]] = {
        "lab": (
            ("head", HeadSpec(name="tagger", target="lab_parts.parts:Head")),
            ("metric", MetricSpec(name="measure", target="lab_parts.parts:measure")),
            ("metric", MetricSpec(name="decoder", target="pluggy:PluginManager")),
        ),
        "other": (("head", HeadSpec(name="theirs", target="other:Head")),),
    }
    modules = {"lab": "lab_hooks", "other": "other"}
    yield Registry(
        [
            PluginRecord(
                name=name,
                distribution=f"{name}-dist",
                version="1.5",
                origin="",
                builtin=False,
                status="loaded",
                specs=own,
                module=modules[name],
            )
            for name, own in specs.items()
        ]
    )
    for name in ("lab_parts", "lab_parts.parts", "other"):
        sys.modules.pop(name, None)


def test_the_component_is_named_by_its_class_also_where_a_base_class_failed(
    registry: Registry,
) -> None:
    head = registry.target("head", "tagger")()  # type: ignore[operator]
    with pytest.raises(PluginError) as caught, plugin_errors(registry):
        head.encode({})
    assert (
        str(caught.value)
        == "the head `tagger` of plugin `lab` (lab-dist 1.5) failed in `encode`: KeyError: "
        "'nothing'"
    )
    assert isinstance(caught.value.__cause__, KeyError)
    assert "lab_parts/parts.py" in caught.value.trace and caught.value.trace.rstrip().endswith(
        "KeyError: 'nothing'"
    )
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.trace) == (str(caught.value), caught.value.trace), (
        "it crosses processes"
    )


def test_a_failure_in_a_library_is_that_of_the_plugin_that_called_it(registry: Registry) -> None:
    head = registry.target("head", "tagger")()  # type: ignore[operator]
    with pytest.raises(  # noqa: SIM117
        PluginError,
        match=r"head `tagger` of plugin `lab` .* failed in `check`: JSONDecodeError: Expecting "
        r"value",
    ):
        with plugin_errors(registry):
            head.check("?")


def test_a_helper_is_named_with_the_component_that_called_it(registry: Registry) -> None:
    measure = registry.target("metric", "measure")
    with pytest.raises(  # noqa: SIM117
        PluginError,
        match=r"^the metric `measure` of plugin `lab` \(lab-dist 1\.5\) failed in `helper`: "
        r"IndexError",
    ):
        with plugin_errors(registry):
            measure()  # type: ignore[operator]


def test_of_two_plugins_the_innermost_is_named(registry: Registry) -> None:
    mine = registry.target("head", "tagger")()  # type: ignore[operator]
    theirs = registry.target("head", "theirs")()  # type: ignore[operator]
    with pytest.raises(  # noqa: SIM117
        PluginError,
        match=r"^the head `theirs` of plugin `other` \(other-dist 1\.5\) failed in `encode`",
    ):
        with plugin_errors(registry):
            mine.call(lambda: theirs.encode({}))


def test_leaving_the_program_is_a_failure_only_of_the_plugin_that_does(registry: Registry) -> None:
    head = registry.target("head", "tagger")()  # type: ignore[operator]
    with (
        pytest.raises(
            PluginError, match=r"failed in `leave`: SystemExit: 3 \(it left the program\)"
        ),
        plugin_errors(registry),
    ):
        head.leave()
    with pytest.raises(SystemExit), plugin_errors(registry):
        head.call(lambda: raising(SystemExit()))


def test_what_is_raised_on_purpose_and_what_is_no_plugins_stay_what_they_are(
    registry: Registry,
) -> None:
    head = registry.target("head", "tagger")()  # type: ignore[operator]

    for error in (DataError("row 3"), MemoryError(), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, plugin_errors(registry):
            head.call(lambda error=error: raising(error))
        assert caught.value is error
    with pytest.raises(ZeroDivisionError), plugin_errors(registry):
        raising(ZeroDivisionError())
    manager = pluggy.PluginManager("x")
    manager.register(manager, "twice")
    # A target may name a class of another distribution: its errors are not the plugin's.
    with pytest.raises(ValueError, match="twice"), plugin_errors(registry):
        manager.register(manager, "twice")


def test_a_plugin_error_says_where_the_traceback_is() -> None:
    error = PluginError("it failed")
    error.log = "runs/x/error.log"
    assert str(error) == "it failed. The traceback is in `runs/x/error.log`."


def test_one_line_is_one_line_of_bounded_length() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert in_one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert in_one_line(Mute()) == "Mute: (its message cannot be shown)"
    assert len(in_one_line(ValueError("x" * 1000))) == 300
