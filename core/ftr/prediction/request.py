"""What is asked of a model: which one, how its input is read, and what goes into the output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ftr.config.components import checked_options, file_options
from ftr.config.parse import Setting, read_settings
from ftr.config.schema import ComputeConfig, FileOptions
from ftr.data.remote import open_url
from ftr.data.stream import Reader, Source
from ftr.errors import ConfigError, ModelError
from ftr.model.folder import read_card
from ftr.model.hub import is_hub
from ftr.paths import is_url
from ftr.prediction.blocks import Options
from ftr.prediction.job import base_identity, model_identity, plugin_identity, versions
from ftr.prediction.run import Prediction
from ftr.progress import ProgressLine
from ftr.registry.registry import Registry, registry_for_record
from ftr.runs.directory import SWEEP, run_or_winner
from ftr.runs.predicted import check_top_k
from ftr.runs.predictor import load, model_folder
from ftr.terminal import show

if TYPE_CHECKING:
    from ftr.registry.schema import RowSchema
    from ftr.runs.predictor import Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A model, how files are read (`dataset.*`, `compute.*`), and what goes into the output."""

    folder: Path
    settings: Mapping[str, Setting] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    top_k: int | None = None
    abstain_below: float | None = None
    precision: str = "fp32"
    backend: str = "torch"

    def load(self, registry: Registry | None = None) -> Predictor:
        """Load the model."""
        return load(self.folder, registry=registry, precision=self.precision, backend=self.backend)

    def options(self) -> Options:
        """Return what goes into a record."""
        return Options(columns=self.columns, top_k=self.top_k, abstain_below=self.abstain_below)

    def reading(self, source: str, schema: RowSchema) -> FileOptions:
        """Return the options of a file. Raises `ConfigError`."""
        given = {key: one for key, one in self.settings.items() if key.startswith("dataset.")}
        values = {key.removeprefix("dataset."): one.value for key, one in given.items()}
        checked = checked_options("dataset", source, file_options(schema), values, given)
        return FileOptions.model_validate(checked)

    def compute(self, workers: int | None) -> ComputeConfig | None:
        """Return the workers that are asked for; None: none. Raises `ConfigError`."""
        given = {key: one for key, one in self.settings.items() if key.startswith("compute.")}
        if workers is None and not given:
            return None
        if workers is not None and workers < 1:
            raise ConfigError(f"`workers` (`--workers`) is {workers}: give 1 or more.")
        for key in given:
            if key not in USED:
                known = ", ".join(f"`{one}`" for one in USED)
                raise ConfigError(f"`{key}`: predictions take `--workers` and {known}.")
        values = {key.removeprefix("compute."): one.value for key, one in given.items()}
        checked = ComputeConfig.model_validate({**values, "workers": workers or 0})
        if checked.address is None and workers is None:
            raise ConfigError("`compute.*` needs `--workers N` or `compute.address=…`.")
        return checked

    def check(self, predictor: Predictor) -> None:
        """Raise `RequestError` for what the head cannot give; print where confidences are not
        calibrated.
        """
        predictor.check_abstain(self.abstain_below)
        check_top_k(self.top_k, predictor.card.head, predictor.card.labels)
        if self.abstain_below is not None and not predictor.calibrated:
            fits = hasattr(getattr(predictor.head, "options", None), "calibrate")
            hint = ": train with `head.calibrate=temperature` to fit them" if fits else ""
            show(f"confidences are those of the model, not calibrated{hint}")

    def work(
        self, given: str, source: Source, predictor: Predictor, progress: ProgressLine
    ) -> Prediction:
        """Return the pass over an opened input."""
        schema = predictor.head.schema
        return Prediction(
            reader=Reader.of(source, schema, self.reading(given, schema)),
            predictor=predictor,
            options=self.options(),
            progress=progress,
        )

    def identity(self, registry: Registry | None = None) -> dict[str, Any]:
        """Return what predictions depend on beside their input: `--resume` compares it.

        `registry` is the one that the model was loaded with.
        """
        card = read_card(self.folder)
        known = registry or registry_for_record(card.plugins)
        return {
            "version": versions(),
            "model": model_identity(self.folder),
            "base model": base_identity(self.folder),
            "plugin": plugin_identity(card.head, card.plugins, known),
            "options": {
                **{
                    key: str(one.value)
                    for key, one in self.settings.items()
                    if key.startswith("dataset.")
                },
                "--columns": None if self.columns is None else list(self.columns),
                "--top-k": self.top_k,
                "--abstain-below": self.abstain_below,
                "--precision": self.precision,
                "--backend": self.backend,
            },
        }


USED = ("compute.address", "compute.cpus", "compute.gpus", "compute.memory", "compute.resources")
"""Keys of `compute.*` that predictions take; `--workers` is `compute.workers`."""


class Counted(Protocol):
    """What counts the rows of an input."""

    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def errors(self) -> int: ...  # noqa: D102
    @property
    def abstained(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Files that were written, and how many of their rows were predicted, could not be, and were
    abstained from.
    """

    files: tuple[Path, ...]
    predictions: int
    errors: int
    abstained: int

    @classmethod
    def of(cls, files: Sequence[Path], counted: Sequence[Counted]) -> Predicted:
        """Return the sums over several inputs."""
        rows, errors = sum(one.rows for one in counted), sum(one.errors for one in counted)
        abstained = sum(one.abstained for one in counted)
        return cls(
            files=tuple(files), predictions=rows - errors, errors=errors, abstained=abstained
        )


@contextlib.contextmanager
def opened(given: str) -> Iterator[Source]:
    """Open a file, a URL, or standard input for `-`."""
    source = open_url(given) if is_url(given) else Source.open(given)
    try:
        yield source
    finally:
        source.close()


def checkpoint(given: str | Path) -> Path:
    """Return the model directory of a run, of the best run of a sweep, or the directory itself."""
    try:
        if str(given).strip():
            return model_folder(given)
    except ModelError:
        if is_hub(given) or (Path(given).exists() and not (Path(given) / SWEEP).is_file()):
            raise
    return model_folder(run_or_winner(given).path)


def reading_settings(settings: Sequence[str] | Mapping[str, object]) -> dict[str, Setting]:
    """Return the `dataset.*` and `compute.*` settings of a prediction.

    Raises `ConfigError` for any other key.
    """
    given = read_settings(settings)
    for key in given:
        if not key.startswith(("dataset.", "compute.")):
            raise ConfigError(
                f"`{key}`: `ftr predict` takes only `dataset.*` settings, which say how to read "
                "the file, such as `dataset.text=review`, and `compute.*` for workers."
            )
    return given
