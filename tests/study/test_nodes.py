"""A sweep over a cluster whose nodes come and go: every trial ends once, and the ranking is that of
one machine left alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clusters import Node, Size, ray_cluster
from interruptions import command, wait_for, words
from sweeps import REPEATED, ended, events_of, ranking, started

if TYPE_CHECKING:
    from ftr.study.sweep import SweepResult

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True, slots=True)
class Story:
    """A sweep that lost a node and gained another; `cut` are the trials that were under way on the
    lost one.
    """

    path: Path
    answer: tuple[int, str, str]
    hosts: list[str]
    cut: set[int]

    def places(self) -> dict[int, str]:
        """Return the node that ended each trial."""
        return {record["trial"]: record["node"] for record in records(self.path)}


def records(sweep: Path) -> list[dict[str, Any]]:
    """Return what the trials of a sweep say of themselves, so far."""
    return [json.loads(path.read_text()) for path in sorted(sweep.glob("trials/*/run.json"))]


def under_way(sweep: Path, host: str) -> set[int]:
    """Return the trials that train on a node and were evaluated there."""
    return {
        record["trial"]
        for record in records(sweep)
        if record["node"] == host
        and record["status"] == "running"
        and (sweep / f"trials/{record['trial']:04d}/metrics.jsonl").is_file()
    }


@pytest.fixture(scope="module")
def story(tiny_bert: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The sweep of `undisturbed` on three nodes; one is lost while it trains, and another comes in
    its place.
    """
    output = tmp_path_factory.mktemp("nodes")
    with ray_cluster(Size(cpus=1), Size(cpus=1), Size(cpus=1)) as cluster:
        asked = {
            **REPEATED,
            "dataset": reviews,
            "model": tiny_bert,
            "output": output,
            "compute.address": cluster.address,
        }
        driver = command("sweep", *words(asked))
        try:
            wait_for(lambda: any(output.glob("*/journal.jsonl")), driver)
            (sweep,) = output.glob("*")
            busy: list[Node] = []  # on a slow machine a node may get its first trial late

            def found() -> bool:
                busy[:] = [node for node in cluster.nodes[1:] if under_way(sweep, node.host)]
                return bool(busy)

            wait_for(found, driver)
            lost = busy[-1]
            cluster.kill(lost)
            cut = under_way(sweep, lost.host)
            cluster.add(Size(cpus=1))
            out, err = driver.communicate(timeout=300)
        finally:
            driver.kill()
        return Story(
            sweep,
            (driver.returncode, out, err),
            [lost.host, *(node.host for node in cluster.nodes)],
            cut,
        )


def test_the_ranking_is_that_of_one_machine(story: Story, undisturbed: SweepResult) -> None:
    assert story.answer[0] == 0, story.answer
    assert ranking(story.path) == ranking(undisturbed.path)


def test_every_trial_ends_once_and_those_of_the_lost_node_are_taken_up_again(story: Story) -> None:
    events = events_of(story.path)
    assert sorted(ended(events)) == list(range(10))
    assert story.cut and story.cut <= {
        number for number in started(events) if started(events).count(number) > 1
    }
    assert all(event["status"] == "done" for event in events if event["event"] == "end")


def test_trials_run_on_the_nodes_that_are_there(story: Story) -> None:
    lost, *living = story.hosts
    places = story.places()
    assert set(places.values()) <= {lost, *living} and len(set(places.values()) & set(living)) >= 2
    assert not story.cut & {number for number, host in places.items() if host == lost}
