"""ftr: a task, a dataset and a pretrained model become a fine-tuned checkpoint.

A plugin needs `hookimpl` and the specs from here. `run`, `sweep` and `load` are imported when first used, so that
`import ftr` stays cheap.
"""

from typing import TYPE_CHECKING

from ftr.hookspecs import hookimpl
from ftr.specs import DatasetSpec, HeadSpec, MetricSpec, ModelSpec, TaskSpec

if TYPE_CHECKING:
    from ftr.jobs.several.drive import run
    from ftr.jobs.sweep.start import sweep
    from ftr.runs.load import load

    __version__: str

__all__ = ["DatasetSpec", "HeadSpec", "MetricSpec", "ModelSpec", "TaskSpec", "__version__", "hookimpl", "load", "run", "sweep"]

_LAZY = {"run": "ftr.jobs.several.drive", "load": "ftr.runs.load", "sweep": "ftr.jobs.sweep.start"}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from ftr.discovery import own_version

        return own_version()
    if name in _LAZY:
        from importlib import import_module

        from ftr.isolation import loading

        with loading():
            return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module `ftr` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
