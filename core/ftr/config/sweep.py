"""Resolve a sweep: its own keys, its search space, and the configuration each trial starts from."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from math import prod
from pathlib import Path
from typing import Any

from ftr.config.components import component_options, head_schema
from ftr.config.keys import check_keys
from ftr.config.parse import (
    COMPONENTS,
    Layer,
    Origin,
    OriginKind,
    Setting,
    is_chosen,
    parse_mapping,
    read_settings,
    shown,
    validated,
)
from ftr.config.resolve import (
    DEFAULT,
    Resolved,
    check_renamed,
    flat,
    recorded_config,
    recorded_model,
    resolve_layer,
    task_origin,
)
from ftr.config.schema import DEFAULT_TRIALS, SWEEP_KEYS, Mode, SweepConfig
from ftr.config.space import Dimension, function_meant, grid_size, split_space
from ftr.config.values import write_value
from ftr.errors import ConfigError, PluginError, RequestError, ScoreError, did_you_mean
from ftr.registry.registry import Registry

ALL_COMBINATIONS = 256
"""Up to this many combinations of corners are all tried, in larger spaces those of two keys."""
MOST_PAIRS = 1024


ONE_FOR_ALL: Mapping[str, str] = {
    "task": "a task is a bundle of other keys; search those",
    "metrics": "the first of them ranks the trials",
    "output": "trials are in the directory of the sweep",
    "compute": "the resources of a trial decide how many run at a time",
    "plugins": "search the other keys for what they register",
}
SEVERAL: Mapping[str, str] = {
    "seeds": "`repeats` trains each configuration with several seeds",
    "cv.folds": "`repeats` trains each configuration several times; `cv.folds` with `cv.fold` "
    "trains on one part",
    "ensemble": "search first, then `ftr run ensemble=…` with the best values",
    "boosting": "search first, then `ftr run boosting=…` with the best values",
}
PBT_KEYS = ("learning_rate", "train.weight_decay", "train.max_grad_norm")
PACKAGES = {"optuna": "optuna", "hyperopt": "ftr[hyperopt]"}
LARGEST_GRID = 100_000
LOSS = "loss"
"""The score of every task besides those of its metrics."""
_NO_SPACE = (
    "{}: give a key an expression, for example `learning_rate=loguniform(3e-5,3e-4)` or "
    "`batch_size=choice(8,16,32)`."
)


def check_space(
    fixed: Layer, space: Mapping[str, Dimension], origins: Mapping[str, str], registry: Registry
) -> Resolved:
    """Return the configuration in the middle of the space, after its corners were tried.

    `origins` are those of the searched keys. Raises what `ftr.config.resolve.resolve` does, about
    the fixed settings or the first corner that fails, with the values that make it.
    """

    def tried(values: Mapping[str, object]) -> Resolved:
        drawn = {
            key: Setting(value, f"{origins[key]}, from `{space[key].text}`")
            for key, value in values.items()
        }
        try:
            return resolve_layer({**fixed, **drawn}, registry)
        except RequestError as error:
            named = [key for key in drawn if any(_concerns(key, other) for other in error.keys)]
            if not named:
                raise
            pairs = " ".join(f"{key}={write_value(values[key])}" for key in named)
            hint = ""
            if error.needs_integer and not all(space[key].values for key in named):
                hint = " Whole numbers are drawn by `randint`, `lograndint` and `choice`."
            raise error.with_message(f"no trial can have `{pairs}`: {error}{hint}") from None

    middle = {key: dimension.middle() for key, dimension in space.items()}
    base = tried(middle)
    for values in _trials(middle, space):
        tried(values)
    return base


def _concerns(key: str, other: str) -> bool:
    """Whether two keys are one, or one is within the mapping that the other sets."""
    shorter, longer = sorted((key, other), key=len)
    return key == other or (shorter not in COMPONENTS and longer.startswith(f"{shorter}."))


def _trials(
    middle: Mapping[str, object], space: Mapping[str, Dimension]
) -> Iterator[dict[str, object]]:
    for key, dimension in space.items():
        yield from ({**middle, key: value} for value in dimension.probes())
    corners = {key: dimension.corners() for key, dimension in space.items()}
    if prod(map(len, corners.values())) <= ALL_COMBINATIONS:
        yield from (dict(zip(space, values, strict=True)) for values in product(*corners.values()))
    else:
        pairs = (
            {**middle, first: one, second: other}
            for first, second in combinations(corners, 2)
            for one, other in product(corners[first], corners[second])
        )
        yield from islice(pairs, MOST_PAIRS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSweep:
    """A sweep ready to start.

    `base` is the configuration that trials have in common, with a value of the middle of the space
    for each searched key. `origins` has the keys of `flat(base.config)`, of `sweep` and of `space`.
    """

    base: Resolved
    sweep: SweepConfig
    space: dict[str, Dimension]
    origins: dict[str, str]

    @property
    def trial_limit(self) -> int | None:
        """The number of configurations after which the sweep ends; None: another budget ends it."""
        if self.sweep.trials is not None:
            return self.sweep.trials
        if self.sweep.searcher == "grid":
            return grid_size(self.space)
        other = (self.sweep.time_budget, self.sweep.max_total_epochs, self.sweep.min_gain)
        return DEFAULT_TRIALS if other == (None, None, None) else None

    def record(self) -> dict[str, Any]:
        """Return it as JSON: what `recorded_sweep` reads."""
        return {
            "config": self.base.config.model_dump(mode="json"),
            "origins": self.origins,
            "chosen": [key for key, origin in self.base.origins.items() if is_chosen(origin)],
            "sweep": self.sweep.model_dump(mode="json"),
            "space": {key: dimension.text for key, dimension in self.space.items()},
        }


def recorded_sweep(
    record: Mapping[str, Any], registry: Registry, file: Path | str = "sweep.json"
) -> ResolvedSweep:
    """Return a sweep from its `record()`, read from `file`; other keys of `record` are ignored.

    Raises `RequestError` where the record is damaged or of another version.
    """
    try:
        return _recorded(record, registry, file)
    except (LookupError, TypeError, AttributeError) as error:
        wrong = f"{type(error).__name__}: {error}"
    raise RequestError(
        f"the record `{file}` of this sweep cannot be used ({wrong}). Restore the file, or start a "
        "new sweep."
    )


def _recorded(record: Mapping[str, Any], registry: Registry, file: Path | str) -> ResolvedSweep:
    check_renamed(record, file)
    config = recorded_config(record, file)
    schema = head_schema(
        config.head.name, component_options("head", config.head, registry), registry
    )
    origins: dict[str, str] = record["origins"]
    base = Resolved(config, {key: _recorded_origin(key, record) for key in flat(config)}, schema)
    space, others = split_space(
        {key: Setting(text, origins[key]) for key, text in record["space"].items()}
    )
    if others:
        raise LookupError(f"`{next(iter(others))}` is not an expression")
    return ResolvedSweep(
        base=base,
        # An earlier version kept the models of all trials.
        sweep=recorded_model(SweepConfig, {"keep_models": "all", **record["sweep"]}, record, file),
        space=space,
        origins=origins,
    )


def _recorded_origin(key: str, record: Mapping[str, Any]) -> str:
    """Return the origin of a key of the base. `ensemble` is a key of the sweep there."""
    if key in SWEEP_KEYS or key not in record["origins"]:
        return DEFAULT
    origin: str = record["origins"][key]
    return origin if key in record["chosen"] else Origin(origin, OriginKind.DEFAULT)


def resolve_sweep(
    arguments: Sequence[str] | Mapping[str, object], registry: Registry
) -> ResolvedSweep:
    """Return the sweep that `key=value` words, or a mapping of nested or dotted keys, describe.

    A value that is an expression makes its key a dimension of the space. Without expressions the
    task's own space is searched, less the keys that have a value. Raises what
    `ftr.config.resolve.resolve` does, for the settings and for every corner of the space.
    """
    given = read_settings(arguments)
    own = {key: setting for key, setting in given.items() if key in SWEEP_KEYS}
    space, fixed = split_space({key: setting for key, setting in given.items() if key not in own})
    origins = {key: _origin_of(key, given) for key in space}
    check_keys(
        {**fixed, **{key: Setting(space[key].text, origins[key]) for key in space}}, sweep=True
    )
    sweep = validated(SweepConfig, {key: setting.value for key, setting in own.items()}, own)
    try:
        if not space:
            resolve_layer(fixed, registry)
            space, origins = _space_of_task(fixed, registry)
        _check_searched(space, origins)
        sweep = _with_searcher(sweep, own, space, origins)
        _check_scheduler(sweep, space, origins)
        base = check_space(fixed, space, origins, registry)
        _check_single(base)
        _check_metric(base.config.metrics, own, registry)
    except RequestError as error:
        hints = (function_meant(fixed[key].value) for key in error.keys if key in fixed)
        if hint := next(filter(None, hints), ""):
            raise error.with_message(f"{error}{hint}") from None
        raise
    defaults = {key: own[key].origin if key in own else DEFAULT for key in SWEEP_KEYS}
    return ResolvedSweep(
        base=base, sweep=sweep, space=space, origins={**origins, **base.origins, **defaults}
    )


def trial_config(
    base: Resolved, values: Mapping[str, object], registry: Registry, seed: int | None = None
) -> Resolved:
    """Return the checked configuration of one trial: that of `base` with `values`, by dotted key,
    and `seed` where one is given.

    Values that nobody chose are not copied from `base` but derived from the trial's own values:
    options of another model, a stride that fits another length. Raises what
    `ftr.config.resolve.resolve` does.
    """
    given = {
        key: Setting(value, base.origins[key])
        for key, value in flat(base.config).items()
        if is_chosen(base.origins[key])
    }
    if seed is not None:
        given["seed"] = Setting(seed, "seed of the trial")
    given |= {
        key: Setting(value, base.origins.get(key, "search space")) for key, value in values.items()
    }
    return resolve_layer(given, registry)


def ranked_by(resolved: ResolvedSweep, registry: Registry) -> tuple[str, Mode]:
    """Return the score that ranks trials, and its mode; a metric's name means its main score.

    A score that is not the main one of a metric is minimized if its name ends in `loss`, and else
    has the mode of the first metric.
    """
    specs = [registry.metric(name) for name in resolved.base.config.metrics]
    main = {spec.name: spec.key or spec.name for spec in specs}
    modes = {main[spec.name]: spec.mode for spec in reversed(specs)}
    score = resolved.sweep.metric or main[specs[0].name]
    if score not in modes:
        score = main.get(score, score)
    guessed: Mode = "min" if score.endswith("loss") else specs[0].mode
    return score, resolved.sweep.mode or modes.get(score, guessed)


def _origin_of(key: str, given: Layer) -> str:
    """Return the origin of a dimension: of its own setting, or of the mapping around it."""
    while key not in given:
        key = key.rpartition(".")[0]
    return given[key].origin


def _space_of_task(fixed: Layer, registry: Registry) -> tuple[dict[str, Dimension], dict[str, str]]:
    """Return the task's own search space without fixed keys and options of replaced components."""
    named = fixed.get("task")
    if named is None or named.text is None:
        raise ConfigError(_NO_SPACE.format("there is nothing to search"))
    task = registry.find("task", named.text)
    spec, origin = registry.task(named.text), task_origin(task)
    space, plain = split_space(parse_mapping(spec.search_space, f"search space of {origin}"))
    if plain:
        key, setting = next(iter(plain.items()))
        raise PluginError(
            f"the search space of {origin}: `{key}` is {shown(setting.value)}, not an expression "
            "such as `choice(1,2)`."
        )
    components = {"dataset": spec.dataset, "model": spec.model, "head": spec.head}
    settled = [key for key in fixed if "." in key] + [
        key for key, name in components.items() if key in fixed and fixed[key].text != name
    ]
    below = tuple(f"{key}." for key in settled)
    free = [key for key in space if key not in fixed and not key.startswith(below)]
    if not free:
        own = (
            f"all keys of the search space of {origin} have a value"
            if space
            else f"{origin} has no search space"
        )
        raise ConfigError(_NO_SPACE.format(own))
    return {key: space[key] for key in free}, dict.fromkeys(free, origin)


def _check_searched(space: Mapping[str, Dimension], origins: Mapping[str, str]) -> None:
    for key in space:
        reason = ONE_FOR_ALL.get(key.partition(".")[0])
        if reason:
            raise ConfigError(
                f"`{key}` ({origins[key]}) cannot be searched: {reason}. Give it one value."
            )


def _check_single(base: Resolved) -> None:
    """Refuse what would make several trainings of each trial."""
    if keys := base.config.several_keys:
        key = keys[0]
        raise ConfigError(
            f"`{key}` ({base.origins[key]}) trains several models, and a trial is one: "
            f"{SEVERAL[key]}.",
            keys=[key],
        )


def _check_metric(metrics: Sequence[str], own: Layer, registry: Registry) -> None:
    """Refuse a score that no metric returns, where all metrics declare their scores."""
    asked = own.get("metric")
    specs = [registry.metric(name) for name in metrics]
    if asked is None or asked.value is None or any(spec.scores is None for spec in specs):
        return
    known = [*dict.fromkeys(score for spec in specs for score in spec.scores or ()), LOSS]
    if asked.text not in [*known, *(spec.name for spec in specs)]:
        raise ScoreError(
            f"`metric={asked.value}` is not a score of this "
            f"task.{did_you_mean(str(asked.value), known)} Choose from: {', '.join(known)}.",
            keys=["metric"],
        )


def _with_searcher(
    sweep: SweepConfig, own: Layer, space: Mapping[str, Dimension], origins: Mapping[str, str]
) -> SweepConfig:
    """Return the sweep, with `searcher=grid` where every dimension is a grid and none is set."""
    grids = [key for key, dimension in space.items() if dimension.kind == "grid"]
    if "searcher" not in own and len(grids) == len(space):
        sweep = sweep.model_copy(update={"searcher": "grid"})
    if sweep.searcher != "grid":
        if grids:
            raise ConfigError(
                f"`{grids[0]}` is `{space[grids[0]].text}` ({origins[grids[0]]}), and `grid` needs "
                f"`searcher=grid`, not `{sweep.searcher}`: set that, or write `choice` for `grid`."
            )
        _check_installed(sweep.searcher, own)
        return sweep
    size = grid_size(space)
    if size is None:
        key = next(key for key, dimension in space.items() if dimension.size is None)
        raise ConfigError(
            f"`{key}` is `{space[key].text}` ({origins[key]}), which has too many values for a "
            f"grid: write `{key}=grid(…)` with the values to try, or `searcher=optuna`."
        )
    if size > LARGEST_GRID:
        raise ConfigError(
            f"the grid has {size} combinations, more than {LARGEST_GRID}: search fewer values, or "
            "use `searcher=optuna`."
        )
    return sweep


def _check_installed(searcher: str, own: Layer) -> None:
    package = PACKAGES.get(searcher)
    if package and importlib.util.find_spec(searcher) is None:
        origin = own["searcher"].origin if "searcher" in own else DEFAULT
        raise ConfigError(
            f"`searcher` is `{searcher}` ({origin}), which is not installed: `pip install "
            f"'{package}'`."
        )


def _check_scheduler(
    sweep: SweepConfig, space: Mapping[str, Dimension], origins: Mapping[str, str]
) -> None:
    if sweep.repeats > 1 and "seed" in space:
        raise ConfigError(
            f"`seed` ({origins['seed']}) is searched, and `repeats={sweep.repeats}` sets it too: "
            "leave one out."
        )
    if sweep.scheduler != "pbt":
        return
    fixed = next((key for key in space if key not in PBT_KEYS), None)
    if fixed is not None:
        allowed = ", ".join(f"`{name}`" for name in PBT_KEYS)
        raise ConfigError(
            f"`{fixed}` ({origins[fixed]}) cannot change during a training, as `scheduler=pbt` "
            f"needs: search {allowed}, for example `learning_rate=loguniform(1e-5,1e-3)`, or use "
            "another scheduler."
        )
    if sweep.repeats > 1:
        raise ConfigError(
            f"`scheduler=pbt` changes a trial during its training, so `repeats={sweep.repeats}` "
            "would differ: leave one out."
        )
