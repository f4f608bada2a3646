"""Encoded data for a sweep: each distinct content is read, split and encoded once, by the driver, before trial 0."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ftr.config.dimension import LISTS
from ftr.errors import FtrError
from ftr.jobs.prepare import Prepared, prepare

if TYPE_CHECKING:
    from ftr.config.dimension import Dimension
    from ftr.config.models import RunConfig
    from ftr.registry import Registry

MOST = 32
"""Distinct contents that are made before trial 0; where the space has more, trials make theirs themselves, once each."""
CONTENT = ("dataset", "data", "head", "model", "cv")
"""Groups of keys that decide what encoded rows look like."""


def data_key(config: RunConfig) -> str:
    """Return what decides the encoded rows of a configuration, as text: equal keys, equal rows."""
    dumped = config.model_dump(mode="json", include={*CONTENT, "task"})
    return json.dumps(dumped, sort_keys=True)


def plain(prepared: Prepared) -> dict[str, Any]:
    """Return encoded data as plain values: what a trial process needs of it."""
    return {
        "splits": {name: asdict(split) for name, split in prepared.splits.items()},
        "labels": list(prepared.labels),
        "max_length": prepared.settings.max_length,
        "stride": prepared.settings.stride,
        "source": prepared.model.describe(),
        "report": prepared.report,
        "sources": prepared.sources,
        "notes": prepared.notes,
    }


def prepare_all(
    base: RunConfig, space: Mapping[str, Dimension], configured: Callable[[Mapping[str, object]], RunConfig], registry: Registry
) -> tuple[Prepared, dict[str, dict[str, Any]]]:
    """Encode the base and every other content the space can ask for, up to `MOST`; returns (of the base, all by data key).

    `configured` makes the configuration of swept values. Combinations that no run can have are left to the trial that
    draws one.
    """
    first = prepare(base, registry)
    found = {data_key(base): plain(first)}
    swept = {key: dimension for key, dimension in space.items() if key.partition(".")[0] in CONTENT}
    choices = [list(dimension.values) if dimension.kind in LISTS else None for dimension in swept.values()]
    if not swept or any(values is None for values in choices):
        return first, found
    for point in itertools.islice(itertools.product(*(values or [] for values in choices)), MOST):
        try:
            config = configured(dict(zip(swept, point, strict=True)))
        except FtrError:
            continue
        if data_key(config) not in found:
            found[data_key(config)] = plain(prepare(config, registry))
    return first, found
