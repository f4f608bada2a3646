"""ftr: a task, a dataset and a pretrained model become a fine-tuned checkpoint.

Plugins import from `ftr.plugin`. The functions of the commands and `load` are imported when first
used, so that `import ftr` stays cheap.
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
    from ftr.prediction.files import predict
    from ftr.results.compare import compare
    from ftr.results.plan.planner import plan
    from ftr.results.report.write import write_report as report
    from ftr.results.reproduce import reproduce
    from ftr.runs.evaluate import evaluate
    from ftr.runs.predicted import PredictionRecord
    from ftr.runs.predictor import Predictor, load
    from ftr.study.resume import resume
    from ftr.study.study import run
    from ftr.study.sweep import sweep

    __version__: str

__all__ = [
    "DatasetSpec",
    "HeadSpec",
    "MetricSpec",
    "ModelSpec",
    "PredictionRecord",
    "Predictor",
    "TaskSpec",
    "TrackerSpec",
    "__version__",
    "compare",
    "evaluate",
    "hookimpl",
    "load",
    "plan",
    "predict",
    "report",
    "reproduce",
    "resume",
    "run",
    "sweep",
]

_LAZY = {
    "PredictionRecord": "ftr.runs.predicted:PredictionRecord",
    "Predictor": "ftr.runs.predictor:Predictor",
    "compare": "ftr.results.compare:compare",
    "evaluate": "ftr.runs.evaluate:evaluate",
    "load": "ftr.runs.predictor:load",
    "plan": "ftr.results.plan.planner:plan",
    "predict": "ftr.prediction.files:predict",
    "report": "ftr.results.report.write:write_report",
    "reproduce": "ftr.results.reproduce:reproduce",
    "resume": "ftr.study.resume:resume",
    "run": "ftr.study.study:run",
    "sweep": "ftr.study.sweep:sweep",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from ftr.registry.discovery import own_version

        return own_version()
    if name in _LAZY:
        from importlib import import_module

        from ftr.registry.isolation import loading

        with loading():
            module, _, attribute = _LAZY[name].partition(":")
            return getattr(import_module(module), attribute)
    raise AttributeError(f"module `ftr` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
