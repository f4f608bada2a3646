"""`ftr reproduce`: run a recorded training again, and compare what it depended on and the result.

A sweep stands for its best run. A run of several is repeated as a whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ftr.atomic import sha256
from ftr.config.keys import RENAMED
from ftr.config.parse import Layer, read_settings
from ftr.config.resolve import flat, recorded_config, resolve
from ftr.config.schema import RunConfig
from ftr.errors import DataError, ModelError, RequestError, in_one_line
from ftr.model.folder import weights_of
from ftr.paths import is_url
from ftr.registry.isolation import one_training
from ftr.registry.registry import Registry
from ftr.results.facts import (
    ABSENT,
    Difference,
    Fact,
    differences,
    facts,
    plain,
    same_machine,
)
from ftr.runs.directory import RunDirectory, check_types, run_or_winner
from ftr.runs.prepare import to_stderr
from ftr.runs.record import check_reach, recorded_registry, remember
from ftr.runs.run import (
    MEMBERS,
    Job,
    Run,
    RunResult,
    Say,
    Settings,
    finish_run,
    merged,
    with_base,
)
from ftr.study.resume import check_settings
from ftr.study.study import run_job
from ftr.terminal import is_secret
from ftr.train.progress import INTERRUPT

OWN_WEIGHTS = "weights.npy"
MOVABLE = ("dataset", "model", "data.cache", "output", "compute", "tracker")
"""Keys, or groups of them, that may differ: where things are, not what is computed."""
MAPPINGS = ("hardware", "numerics", "model_source", "environment", "packages", "memory")
"""Keys of a record whose values are mappings."""
Status = Literal["equal", "differs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What a reproduction found; with `result` None nothing was trained.

    `weights` says of each weight file whether it is equal bit for bit. `same_machine` is false
    where weights may differ because the machine is of another type.
    """

    original: RunDirectory
    facts: list[Fact]
    result: RunResult | None = None
    differences: list[Difference] = field(default_factory=list)
    compared: int = 0
    weights: dict[str, bool] = field(default_factory=dict)
    same_machine: bool = True

    @property
    def status(self) -> Status:
        """`equal`: no score differs, and no weight on a machine of the same type; without a
        training: no fact that can change them differs.
        """
        if self.result is None:
            return "differs" if self.explanations else "equal"
        weights = not self.same_machine or all(self.weights.values())
        return "equal" if weights and not self.differences else "differs"

    @property
    def explanations(self) -> list[Fact]:
        """The facts that differ and can change weights and scores."""
        return [fact for fact in self.facts if fact.explains and fact.equal is False]

    def record(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return {
            "of": self.original.path.name,
            "status": self.status,
            "compared": self.compared,
            "differences": plain(self.differences),
            "weights": self.weights,
            "same_machine": self.same_machine,
            "facts": plain(self.facts),
        }


def reproduce(
    run: str | Path,
    settings: Settings = None,
    *,
    check: bool = False,
    registry: Registry | None = None,
    say: Say | None = None,
    **keys: object,
) -> Reproduction:
    """Train a finished run again in a new directory, with the recorded configuration, precision and
    number of threads, and compare the records; with `check` compare only what it depends on.

    `settings` may name other places (`dataset=`, `model=`, `output=`, `data.cache=`, `compute.*`);
    the directory is made under `output`, default `runs`, and only `tracker=` sends it to a tracker.
    Raises `DataError` and `ModelError` where
    data or weights to begin with are missing or changed, `RequestError` for a run that cannot be
    repeated, and what a training raises.

        ftr.reproduce("runs/ID").status == "equal"
    """
    speak, asked = say or to_stderr, read_settings(merged(settings, keys))
    original = run_or_winner(run)
    recorded = _present_names(original.read())
    check_types(original.record, recorded, dict.fromkeys(MAPPINGS, dict))
    _check_repeatable(original, recorded, check)
    known = registry or recorded_registry(recorded)
    with _readable(original):
        _check_files(recorded, asked, known)
    config = _config(original, recorded, asked, known)
    check_reach(flat(config), asked, original.record, "reproduce")
    with one_training(), INTERRUPT.listening(), _threads(recorded):
        remember(config, known)
        now = _now(config, known)
        with _readable(original):
            _check_data(recorded, now)
            found = facts(recorded, now)
        if check:
            return Reproduction(original=original, facts=found)
        for fact in found:
            if fact.explains and fact.equal is False:
                speak(f"differs: {fact.line()}")
        origin = f"run `{original.path.name}`"
        origins = dict.fromkeys(flat(config), origin) | {
            key: setting.origin for key, setting in asked.items()
        }
        result = _job(config, known, speak, recorded).start(origins)
    return _compared(original, recorded, result)


def _compared(
    original: RunDirectory, recorded: Mapping[str, Any], result: RunResult
) -> Reproduction:
    """Compare the records, and note the outcome in that of the new run."""
    again = RunDirectory(result.path)
    before, after = _trainings(original, recorded), _trainings(again, result.record)
    other: list[Difference] = []
    weights: dict[str, bool] = {}
    count = 0
    for place, (directory, record) in before.items():
        repeated, now = after.get(place, (again, {}))
        found, compared = differences(record, now)
        count += compared
        other += [replace(one, what=f"{place}{one.what}") for one in found]
        known = record.get("weights") or weights_of(directory.model)
        files = now.get("weights") or weights_of(repeated.model)
        weights |= {f"{place}{name}": known.get(name) == files.get(name) for name in known | files}
    reproduction = Reproduction(
        original=original,
        facts=facts(recorded, result.record),
        result=result,
        differences=other,
        compared=count,
        weights=weights,
        same_machine=same_machine(recorded, result.record),
    )
    result.record["reproduces"] = reproduction.record()
    again.write(result.record)
    return reproduction


def _trainings(
    run: RunDirectory, record: Mapping[str, Any]
) -> dict[str, tuple[RunDirectory, Mapping[str, Any]]]:
    """Return a run and its members, if it has any, with their records; by the place in the run."""
    found = {"": (run, record)}
    for member in record.get("members", ()):
        directory = RunDirectory(run.path / MEMBERS / str(member["path"]).rpartition("/")[2])
        if directory.record.is_file():
            found[f"{member['path']}/"] = (directory, directory.read())
    return found


@contextlib.contextmanager
def _readable(original: RunDirectory) -> Iterator[None]:
    """Raise `RequestError` where the record is not in the form of one."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(
            f"`{original.record}` is damaged: {in_one_line(error)}. Restore the file."
        ) from error


def _check_repeatable(original: RunDirectory, record: Mapping[str, Any], check: bool) -> None:
    """Refuse what one training, or one run of several, cannot repeat."""
    path = original.path
    cause = None
    if "ensemble" in record and "several" not in record:
        cause = "joins trials of a sweep: reproduce those, in `trials`"
    elif record.get("adopted"):
        cause = "took over weights of other trials of its sweep (`scheduler=pbt`)"
    elif (path / OWN_WEIGHTS).is_file():
        cause = f"is a round of boosting: reproduce the whole run, `{path.parent.parent}`"
    elif record["status"] != "done" and not check:
        cause = f"is `{record['status']}`, so there is no result to compare: `--check` checks alone"
    if cause is not None:
        raise RequestError(f"`{path}` {cause}.")


def _present_names(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of an older version with the present names of its settings."""
    config = dict(record["config"])
    for old, new in RENAMED.items():
        group, _, name = old.rpartition(".")
        section = config.get(group) if group else config
        if isinstance(section, dict) and name in section:
            values = dict(section)
            values[new.rpartition(".")[2]] = values.pop(name)
            config = {**config, group: values} if group else values
    return {**record, "config": config}


def _config(
    original: RunDirectory, record: dict[str, Any], asked: Layer, registry: Registry
) -> RunConfig:
    """Return the configuration to train with.

    `train.precision=auto` is what was measured then: another result now would be another training.
    """
    config = recorded_config(record, original.record)
    moved = {
        key: setting.value
        for key, setting in asked.items()
        if key in MOVABLE or key.partition(".")[0] in MOVABLE or is_secret(key)
    }
    others = {key: setting for key, setting in asked.items() if key not in moved}
    check_settings(others, config, registry)
    values = {**flat(config), "output": "runs", "tracker": [], **moved}
    numerics = record.get("numerics") or {}
    if config.train.precision == "auto" and numerics.get("device") == _device():
        values["train.precision"] = numerics["precision"]
    return resolve(values, registry).config


def _device() -> str:
    from ftr.train.hardware import device_name

    return device_name()


@contextlib.contextmanager
def _threads(record: Mapping[str, Any]) -> Iterator[None]:
    """Let torch compute with as many threads as then: another number sums in another order."""
    import torch

    before = torch.get_num_threads()
    threads = (record.get("hardware") or {}).get("threads")
    if isinstance(threads, int) and 0 < threads <= 4096:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _job(
    config: RunConfig, registry: Registry, say: Say, record: Mapping[str, Any]
) -> Job[RunResult]:
    return (
        run_job(config, registry, say) if config.several else Again(config, registry, say, record)
    )


class Again(Run):
    """A recorded training, of a sweep too: ranked and, if its sweep stopped it, ended as then."""

    def __init__(
        self, config: RunConfig, registry: Registry, say: Say, before: Mapping[str, Any]
    ) -> None:
        super().__init__(config, registry, say)
        self.ranked: tuple[str, str] | None = None
        self.stop: int | None = None
        if "trial" in before and "primary" in before:
            self.ranked = (before["primary"], before["mode"])
            last = before.get("last") or {}
            if not before.get("stopped_early") and last.get("epoch", 0) < 0.999 * config.epochs:
                self.stop = last.get("step")

    def spec(self, **fields: Any) -> dict[str, Any]:
        """Return what crosses to the training, with the score that the sweep ranked by."""
        return super().spec(ranked=self.ranked, **fields)

    def work(self) -> RunResult:
        """Train, score and close."""
        if self.stop is None or self.config.compute.workers:
            return super().work()
        from ftr.train.session import train_loop

        def report(evaluation: dict[str, Any]) -> None:
            if evaluation["step"] >= self.stop:
                raise SystemExit

        self.say(f"its sweep stopped this trial at step {self.stop}, and so does this run")
        self.open()
        with contextlib.suppress(SystemExit):
            train_loop(self.spec(final=False), report=report)
        return finish_run(self.directory, self.registry, self.say, self.ranked)


def _now(config: RunConfig, registry: Registry) -> dict[str, Any]:
    """Return the record that a training with `config` would begin with here."""
    from ftr.train.hardware import choose_numerics, describe_hardware

    job = run_job(config, registry, lambda line: None)
    job.prepared = job.read_data()
    return with_base(
        {
            **job.opening({}),
            **job.data_facts(),
            "hardware": describe_hardware(),
            "numerics": asdict(choose_numerics(config.train)),
        }
    )


def _check_files(record: Mapping[str, Any], asked: Layer, registry: Registry) -> None:
    """Raise `DataError` naming the first file of the data that is missing or changed, with both
    hashes.

    Data that `asked` puts elsewhere is compared when it is read.
    """
    name = record["config"]["dataset"]["name"]
    moved = any(key.partition(".")[0] == "dataset" for key in asked)
    if moved or registry.has("dataset", name) or ":" in name:
        return
    for source in (record.get("data") or {}).get("sources", ()):
        path = Path(source["path"])
        if is_url(source["path"]):  # compared when it is read
            continue
        if not path.exists():
            raise DataError(
                f"`{path}`, which the run was trained on, is missing (sha256 {source['sha256']}): "
                "restore it, or say where it is with `dataset=`."
            )
        if path.is_file() and (now := sha256(path)) != source["sha256"]:
            raise _changed(str(path), source["sha256"], now)


def _changed(what: str, before: str, now: str) -> DataError:
    return DataError(
        f"`{what}` is not what the run was trained on: its sha256 is {now}, was {before}. Restore "
        "it, or say where the data is with `dataset=`."
    )


def _check_data(record: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `DataError` where files, or rows without files to tell, are not those of the record,
    and `ModelError` where the weights to begin with are not.
    """
    known, found = record.get("data") or {}, now["data"]
    sources = known.get("sources") or []
    for before, after in zip(sources, found["sources"], strict=False):
        if before["sha256"] != after["sha256"]:
            raise _changed(after["path"], before["sha256"], after["sha256"])
    for split, rows in (known.get("splits") or {}).items():
        after = found["splits"].get(split, {}).get("sha256", ABSENT)
        # Of the same files another version may make other rows, which is a fact to report.
        if not sources and rows["sha256"] != after:
            name = f"{record['config']['dataset']['name']}`, split `{split}"
            raise _changed(name, rows["sha256"], after)
    before, after = (
        {"sha256": one.get("sha256"), **(one.get("weights") or {})}
        for one in (record.get("model_source") or {}, now["model_source"])
    )
    for file, digest in before.items():
        if digest is not None and after.get(file) != digest:
            raise ModelError(
                f"the weights of model `{now['model_source']['source']}` are not those that the "
                f"run began with: the sha256 is {after.get(file)}, was {digest}. Restore them, or "
                "say where they are with `model=`."
            )
