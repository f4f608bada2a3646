"""ftr: a task, a dataset and a pretrained model become a fine-tuned checkpoint.

Plugins import from `ftr.plugin`. `run`, `sweep`, `resume`, `compare` and `load` are imported
when first used, so that `import ftr` stays cheap.
"""

from typing import TYPE_CHECKING

from ftr.registry.specs import (
    DatasetSpec,
    HeadSpec,
    MetricSpec,
    ModelSpec,
    TaskSpec,
    TrackerSpec,
    hookimpl,
)

if TYPE_CHECKING:
    from ftr.results.compare import compare
    from ftr.runs.predictor import load
    from ftr.study.resume import resume
    from ftr.study.study import run
    from ftr.study.sweep import sweep

    __version__: str

__all__ = [
    "DatasetSpec",
    "HeadSpec",
    "MetricSpec",
    "ModelSpec",
    "TaskSpec",
    "TrackerSpec",
    "__version__",
    "compare",
    "hookimpl",
    "load",
    "resume",
    "run",
    "sweep",
]

_LAZY = {
    "compare": "ftr.results.compare",
    "run": "ftr.study.study",
    "sweep": "ftr.study.sweep",
    "resume": "ftr.study.resume",
    "load": "ftr.runs.predictor",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from ftr.registry.discovery import own_version

        return own_version()
    if name in _LAZY:
        from importlib import import_module

        from ftr.registry.isolation import loading

        with loading():
            return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module `ftr` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
