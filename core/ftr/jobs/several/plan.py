"""Which members a configuration asks for, each with the configuration that trains it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ftr.config.models import CvConfig, RunConfig
from ftr.errors import ConfigError

if TYPE_CHECKING:
    from ftr.protocols import Head

Kind = Literal["seeds", "folds", "bagging", "soup", "boosting"]
Joined = Literal["outputs", "weights", "votes"]
JOINED: dict[Kind, Joined] = {"soup": "weights", "boosting": "votes"}
"""What is joined where the kind decides it; else outputs are, with `ensemble`, or nothing is."""

MEMBERS = "members"
DEFAULT_MEMBERS, DEFAULT_FOLDS = 3, 5


@dataclass(frozen=True, slots=True)
class Member:
    """One training of several: its number, its own configuration, and what sets it apart (`seed`, `fold`, `bootstrap`)."""

    number: int
    config: RunConfig
    apart: dict[str, int]

    @property
    def path(self) -> str:
        """Its run directory, below that of the run."""
        return f"{MEMBERS}/{self.number}"

    def __str__(self) -> str:
        """Return what a person calls it: `member 1 (seed 1)`."""
        return f"member {self.number} ({', '.join(f'{key} {value}' for key, value in self.apart.items())})"


@dataclass(frozen=True, slots=True)
class Plan:
    """How several models come about, and the members, in order.

    `joined` is what is made of them: their `outputs` averaged, the mean of their `weights`, their `votes`, or nothing (None).
    """

    kind: Kind
    joined: Joined | None
    members: Sequence[Member]

    @property
    def asked(self) -> str:
        """The setting that asked for it, for messages."""
        if self.joined is None:
            return f"cv.folds={len(self.members)}" if self.kind == "folds" else f"seeds={len(self.members)}"
        return f"boosting={len(self.members)}" if self.kind == "boosting" else f"ensemble={self.kind}"

    @property
    def same_rows(self) -> bool:
        """Whether all members validate on the same rows; folds do not."""
        return self.kind != "folds"


def plan_of(config: RunConfig) -> Plan:
    """Return the members of a configuration for which `config.several` holds.

    Member i trains with the seed `seed` + i, except on folds, which share the seed; bootstrap samples are drawn with the seed
    `data.seed` + i. The members of a soup share `init_seed`: weights that began apart have no mean of use.
    """
    kind, count = _kind(config)
    members = []
    for number in range(count):
        apart: dict[str, int] = {"seed": config.seed + number}
        if kind == "folds":
            apart = {"fold": number}
        if kind == "bagging":
            apart["bootstrap"] = config.data.seed + number
        members.append(Member(number, _alone(config, number, apart, count), apart))
    otherwise: Joined | None = None if config.ensemble is None else "outputs"
    return Plan(kind, JOINED.get(kind, otherwise), members)


def check_plan(plan: Plan, config: RunConfig, head: Head) -> None:
    """Raise `ConfigError` naming both keys where the head, or the splits there will be, do not allow what is asked."""
    from ftr.protocols import Combines, Votes

    if plan.joined == "outputs" and not isinstance(head, Combines):
        raise ConfigError(
            f"`{plan.asked}` averages outputs, and the head `{config.head.name}` (`head`) has no `combine`: "
            "`ensemble=soup` averages weights, `seeds` trains several and joins none."
        )
    if plan.joined == "votes":
        classes = head.schema.classes
        if classes is None or classes.type != "label":
            raise ConfigError(
                f"`{plan.asked}` weights rows by whether their class is found, and the head `{config.head.name}` (`head`) has no class "
                "for each row: leave `boosting` out, or try `ensemble=bagging`."
            )
        if not isinstance(head, Votes):
            raise ConfigError(f"`{plan.asked}` lets members vote, and the head `{config.head.name}` (`head`) has no `vote`.")


def _kind(config: RunConfig) -> tuple[Kind, int]:
    if config.boosting is not None:
        return "boosting", config.boosting
    if config.ensemble == "folds" or (config.ensemble is None and config.cv.folds is not None and config.cv.fold is None):
        return "folds", config.cv.folds or config.members or DEFAULT_FOLDS
    if config.ensemble is None:
        return "seeds", config.seeds
    return config.ensemble, config.members or (config.seeds if config.seeds > 1 else DEFAULT_MEMBERS)


def _alone(config: RunConfig, number: int, apart: dict[str, int], count: int) -> RunConfig:
    """Return the configuration of one member: what `ftr run` would be given to train it alone."""
    values: dict[str, Any] = {
        "seeds": 1,
        "ensemble": None,
        "boosting": None,
        "members": None,
        "seed": apart.get("seed", config.seed),
        # Of the same rows once is enough.
        "baselines": config.baselines and (number == 0 or "fold" in apart),
        # The whole run is mirrored, its members within.
        "compute": config.compute.model_copy(update={"storage": None}),
    }
    if config.ensemble == "soup":
        values["init_seed"] = config.weights_seed
    if "fold" in apart:
        values["cv"] = CvConfig(folds=count, fold=apart["fold"])
    if "bootstrap" in apart:
        values["data"] = config.data.model_copy(update={"bootstrap": apart["bootstrap"]})
    return RunConfig.model_validate(config.model_copy(update=values).model_dump(mode="json"))
