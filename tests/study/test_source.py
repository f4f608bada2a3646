"""Where trials get numbers, values and seeds: each written down first, and all found again from
what was written down.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ftr.config.space import Dimension, grid_points
from ftr.study.search import Ending, Proposer, Values, make_proposer
from sweeps import Rehearsal, space_of

MEAN = (0.5 + 0.7) / 2
SPACE = space_of(learning_rate="loguniform(1e-5,1e-1)", batch_size="choice(8,16,32)")


class Listening(Proposer):
    """Draws at random, and remembers what it is told."""

    def __init__(self) -> None:
        self.inner = make_proposer("random", SPACE, "max", 0)
        self.told: list[tuple[int, float | None]] = []

    def propose(self, number: int) -> Values | None:
        return self.inner.propose(number)

    def tell(self, number: int, score: float | None) -> None:
        self.told.append((number, score))


def rehearsal(
    proposer: Proposer | None = None,
    *,
    refuses: Mapping[str, object] | None = None,
    space: Mapping[str, Dimension] | None = None,
    **keys: object,
) -> Rehearsal:
    return Rehearsal(
        proposer or make_proposer("random", SPACE, "max", 0),
        refuses=refuses or {},
        space=space,
        **keys,
    )


def searched(name: str, count: int, repeats: int = 1) -> Rehearsal:
    """Go through a search of `count` configurations, two trials at a time; the second of each two
    ends first, and some fail.
    """
    sweep = rehearsal(make_proposer(name, SPACE, "max", 7), trials=count, repeats=repeats)
    running: list[int] = []
    while True:
        spec = sweep.next()
        running += [spec["trial"]] if spec else []
        if len(running) < 2 and spec:
            continue
        if not running:
            return sweep
        number = running.pop()
        if number % 5:
            sweep.result(number, sweep.peak(number))
        sweep.end(number, "done" if number % 5 else "failed")


def test_a_trial_is_written_down_before_it_is_handed_out() -> None:
    sweep = rehearsal(trials=2)
    for number in range(2):
        spec = sweep.next()
        written = sweep.events[-1]
        assert (written["event"], written["trial"], written["group"], written["repeat"]) == (
            "trial",
            number,
            number,
            0,
        )
        assert spec is not None and (spec["trial"], spec["values"], spec["seed"]) == (
            number,
            written["values"],
            42,
        )
    assert sweep.next() is None and sweep.source.ending == Ending(
        "trials", "all 2 trials that were asked for are done"
    )
    assert len(sweep.events) == 2


def test_a_source_without_further_values_ends_the_sweep() -> None:
    sweep = rehearsal(make_proposer("grid", space_of(epochs="grid(1,2)"), "max", 0), time_budget=60)
    assert [spec["values"]["epochs"] for spec in (sweep.next(), sweep.next()) if spec] == [1, 2]
    assert sweep.next() is None
    assert (
        sweep.source.ending is not None
        and sweep.source.ending.detail == "all 2 configurations of the space were tried"
    )


def test_repeats_share_values_and_group_and_differ_in_seed() -> None:
    sweep = rehearsal(trials=2, repeats=3)
    specs = [sweep.next() for _ in range(6)]
    assert sweep.next() is None
    assert [spec["seed"] for spec in specs if spec] == [42, 43, 44] * 2
    assert [(event["group"], event["repeat"]) for event in sweep.events] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
    ]
    assert (
        len({str(event["values"]) for event in sweep.events[:3]}) == 1
        and sweep.events[0]["values"] != sweep.events[3]["values"]
    )


def test_the_searcher_is_told_the_mean_once_all_repeats_ended() -> None:
    listening = Listening()
    sweep = rehearsal(listening, trials=2, repeats=3)
    for _ in range(6):
        sweep.next()
    for number, value in {1: 0.5, 0: 0.7, 3: 0.1}.items():
        sweep.result(number, value)
        sweep.end(number)
    assert listening.told == [] and sweep.source.scores() == []
    sweep.end(2, "failed")
    assert listening.told == [(0, MEAN)] and sweep.source.scores() == [MEAN]
    for number in (4, 5):
        sweep.result(number, float("nan"))
        sweep.end(number)
    assert listening.told[1:] == [(1, 0.1)], "a repeat without a number does not count"


def test_a_configuration_of_which_nothing_is_known_is_told_as_such() -> None:
    listening = Listening()
    sweep = rehearsal(listening, trials=1, repeats=2)
    for number in range(2):
        sweep.next()
        sweep.end(number, "failed")
    assert listening.told == [(0, None)] and sweep.source.scores() == []


def test_values_no_run_can_have_are_a_failed_trial_and_the_next_one_is_tried() -> None:
    listening = Listening()
    sweep = rehearsal(listening, trials=8, refuses={"batch_size": 32})
    handed = []
    while spec := sweep.next():
        handed.append(spec["trial"])
    drawn = {
        event["trial"]: event["values"]["batch_size"]
        for event in sweep.events
        if event["event"] == "trial"
    }
    failed = {event["trial"]: event for event in sweep.events if event["event"] == "end"}
    assert len(drawn) == 8 and handed and failed
    assert handed == [number for number, size in drawn.items() if size != 32]
    assert list(failed) == [number for number, size in drawn.items() if size == 32]
    assert all(
        (event["status"], event["cause"], event["log"])
        == ("failed", "`batch_size` cannot be 32", None)
        for event in failed.values()
    )
    assert listening.told == [(number, None) for number in failed]


def test_patience_ends_it_and_what_waits_is_still_handed_out() -> None:
    sweep = rehearsal(min_gain=0.01, repeats=2)
    for number in range(16):
        assert sweep.next()
        sweep.result(number, 0.5)
        sweep.end(number)
    assert sweep.next() is None
    assert sweep.source.ending is not None and sweep.source.ending.reason == "min_gain"


@pytest.mark.parametrize(
    ("name", "repeats"), [("random", 1), ("optuna", 1), ("hyperopt", 1), ("optuna", 2)]
)
def test_wherever_a_sweep_is_cut_off_recalling_brings_the_searcher_back(
    name: str, repeats: int
) -> None:
    whole = searched(name, 16 if repeats == 1 else 8, repeats)
    for cut in range(0, len(whole.events), 3):
        again = rehearsal(
            make_proposer(name, SPACE, "max", 7), trials=16 if repeats == 1 else 8, repeats=repeats
        )
        assert again.recall(whole.events[:cut]) == []
        unfinished = [trial.number for trial in again.state.trials.values() if not trial.ended]
        handed = [spec["trial"] for spec in (again.next() for _ in unfinished) if spec]
        assert handed == unfinished, "trials that did not end come first, in their order"
        known = set(again.state.trials)
        for event in whole.events[cut:]:
            if event["event"] != "trial":
                again.repeat(event)
            elif event["trial"] not in known:
                spec = again.next()
                assert spec is not None and (spec["trial"], spec["values"]) == (
                    event["trial"],
                    event["values"],
                )
        assert again.next() is None
        assert again.table() == whole.table()


def test_recalling_writes_nothing_but_repeats_that_were_not_written_down() -> None:
    whole = rehearsal(trials=2, repeats=3)
    for _ in range(6):
        whole.next()
    again = rehearsal(trials=2, repeats=3)
    again.recall(whole.events[:4])
    assert [(event["trial"], event["group"], event["repeat"]) for event in again.events[4:]] == [
        (4, 1, 1),
        (5, 1, 2),
    ]
    assert again.events[4]["values"] == again.events[5]["values"] == whole.events[3]["values"]
    assert [spec["trial"] for spec in (again.next() for _ in range(6)) if spec] == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]
    assert again.next() is None


def test_a_searcher_that_comes_to_other_values_goes_on_with_what_was_tried_and_says_so() -> None:
    whole = searched("random", 3)
    again = rehearsal(make_proposer("random", SPACE, "max", 8), trials=4)
    (note,) = again.recall(whole.events)
    assert "the values of trial 0" in note
    assert again.table() == whole.table()
    spec = again.next()
    assert spec is not None and spec["trial"] == 3


SIX = space_of(learning_rate="choice(1e-3,3e-3)", batch_size="choice(8,16,32)")
FINITE = {
    "choices": SIX,
    "quantised": space_of(learning_rate="quniform(0.1,0.3,0.1)", batch_size="randint(1,3)"),
    "lopsided": space_of(
        learning_rate="qloguniform(0.001,0.004,0.001)", batch_size="lograndint(1,3)"
    ),
    "nested": space_of(
        learning_rate="choice(1e-3)", batch_size="choice([1, {a: 1}],[2],2,two,null,true)"
    ),
    "seeds": space_of(learning_rate="choice(1e-3,3e-3)", seed="randint(0,3)"),
}


def run_through(sweep: Rehearsal) -> list[dict[str, object]]:
    """Let every trial end before the next is asked for, and return the values that were tried."""
    while spec := sweep.next():
        sweep.result(spec["trial"], float(spec["trial"] % 4))
        sweep.end(spec["trial"])
    return [event["values"] for event in sweep.events if event["event"] == "trial"]


@pytest.mark.parametrize("name", ["random", "grid", "optuna", "hyperopt"])
@pytest.mark.parametrize("kind", FINITE)
def test_a_finite_space_is_gone_through_once_and_ends_the_sweep(name: str, kind: str) -> None:
    space = FINITE[kind]
    sweep = rehearsal(make_proposer(name, space, "max", 1), space=space, trials=40)
    tried = run_through(sweep)
    assert sorted(map(str, tried)) == sorted(map(str, grid_points(space)))
    assert sweep.source.ending == Ending(
        "space", f"all {len(tried)} configurations of the space were tried"
    )


@pytest.mark.parametrize("name", ["random", "optuna", "hyperopt"])
def test_fewer_trials_than_a_finite_space_has_are_all_different(name: str) -> None:
    for seed in range(6):
        sweep = rehearsal(make_proposer(name, SIX, "max", seed), space=SIX, trials=4)
        assert len({str(values) for values in run_through(sweep)}) == 4
        assert sweep.source.ending == Ending("trials", "all 4 trials that were asked for are done")


@pytest.mark.parametrize("name", ["random", "grid", "optuna"])
def test_values_that_come_to_the_same_configuration_are_tried_once(name: str) -> None:
    space = space_of(
        batch_size="choice(8,8.0)", learning_rate="choice(1e-3,3e-3)", idle="choice(a,b)"
    )
    tried = run_through(
        rehearsal(make_proposer(name, space, "max", 0), space=space, time_budget=60)
    )
    assert len(tried) == 2 and {values["learning_rate"] for values in tried} == {1e-3, 3e-3}


def test_repeats_of_a_finite_space_differ_in_seed_alone() -> None:
    sweep = rehearsal(make_proposer("optuna", SIX, "max", 0), space=SIX, trials=10, repeats=3)
    assert len(run_through(sweep)) == 18
    seen = [
        (str(event["values"]), event["repeat"])
        for event in sweep.events
        if event["event"] == "trial"
    ]
    assert len(set(seen)) == 18


def test_a_searcher_is_told_the_known_score_of_what_it_proposes_again() -> None:
    listening = Listening()
    listening.inner = make_proposer("random", SIX, "max", 1)
    sweep = rehearsal(listening, space=SIX, trials=6)
    run_through(sweep)
    again = [event for event in sweep.events if event["event"] == "duplicate"]
    told = dict(listening.told)
    assert again and all(
        told[event["proposal"]] == sweep.state.trials[event["group"]].best for event in again
    )


def test_a_failed_configuration_is_not_tried_again() -> None:
    sweep = rehearsal(
        make_proposer("optuna", SIX, "max", 0), refuses={"batch_size": 32}, space=SIX, trials=12
    )
    assert len({str(values) for values in run_through(sweep)}) == 6 == len(sweep.state.trials)


@pytest.mark.parametrize("name", ["random", "grid", "optuna", "hyperopt"])
def test_a_finite_space_goes_on_after_any_cut_without_a_repeat(name: str) -> None:
    whole = rehearsal(make_proposer(name, SIX, "max", 7), space=SIX, trials=12)
    tried = run_through(whole)
    for cut in range(len(whole.events) + 1):
        again = rehearsal(make_proposer(name, SIX, "max", 7), space=SIX, trials=12)
        assert again.recall(whole.events[:cut]) == []
        assert run_through(again) == tried, "in the same order as undisturbed"
    more = rehearsal(make_proposer(name, SIX, "max", 7), space=SIX, trials=40)
    more.recall(whole.events)
    assert more.next() is None and more.source.ending == Ending(
        "space", "all 6 configurations of the space were tried"
    )


def test_a_journal_with_repeats_of_an_earlier_version_is_gone_on_with() -> None:
    old = [
        {
            "event": "trial",
            "trial": number,
            "values": {"learning_rate": 1e-3, "batch_size": 8},
            "group": number,
            "repeat": 0,
        }
        for number in range(2)
    ]
    sweep = rehearsal(make_proposer("random", SIX, "max", 0), space=SIX, trials=40)
    sweep.recall(old)
    assert (
        len(run_through(sweep)) == 7
        and len({str(trial.values) for trial in sweep.state.trials.values()}) == 6
    )
