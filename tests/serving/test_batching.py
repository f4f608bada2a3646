"""Waiting requests are joined, and none of them spoils or holds up another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ftr.serving.batching import Answered, Batcher
from ftr.serving.requests import text_bytes, texts_of


class Model:
    """Doubles numbers, records its calls, and waits in the first one until it may go on."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, rows: list[int]) -> list[dict[str, Any]]:
        self.calls.append(rows)
        self.begun.set()
        assert self.may_go_on.wait(20)
        if 13 in rows:
            raise ValueError("13 is unlucky")
        if 14 in rows:
            return []
        return [{"twice": 2 * row} for row in rows]


def ask(batcher: Batcher, rows: list[int], tokens: int = 1) -> asyncio.Task[Answered]:
    return asyncio.create_task(batcher.answer(rows, [tokens] * len(rows)))


def run(body: Callable[[Batcher, Model], Awaitable[None]], **limits: Any) -> None:
    async def inside() -> None:
        model = Model()
        batcher = Batcher(model, **{"max_rows": 4, "max_tokens": 100, **limits})
        try:
            await asyncio.wait_for(body(batcher, model), 30)
        finally:
            model.may_go_on.set()
            await batcher.close()

    asyncio.run(inside())


async def while_busy(batcher: Batcher, model: Model) -> asyncio.Task[Answered]:
    """Begin a call of one row that does not end before `model.may_go_on`."""
    first = ask(batcher, [1])
    await asyncio.to_thread(model.begun.wait, 20)
    return first


def twice(answered: Answered) -> list[int]:
    return [record["twice"] for record in answered.records]


def test_requests_that_wait_share_a_call_and_an_idle_model_waits_for_none() -> None:
    async def body(batcher: Batcher, model: Model) -> None:
        first = await while_busy(batcher, model)
        later = [ask(batcher, [number]) for number in (2, 3, 4)]
        await asyncio.sleep(0.05)
        assert batcher.waiting == 3
        model.may_go_on.set()
        assert [twice(await one) for one in (first, *later)] == [[2], [4], [6], [8]]
        assert model.calls == [[1], [2, 3, 4]]
        assert (await later[0]).batches == [3] and (await later[0]).waited >= 0.05
        assert batcher.waiting == 0

    # A wait of an hour: the first request would not end if the idle model waited.
    run(body, wait=3600)


def test_after_a_shared_call_the_model_waits_for_others_but_not_long() -> None:
    async def body(batcher: Batcher, model: Model) -> None:
        first = await while_busy(batcher, model)
        pair = [ask(batcher, [2]), ask(batcher, [3])]
        await asyncio.sleep(0)
        model.may_go_on.set()
        await asyncio.gather(first, *pair)
        soon = ask(batcher, [4])
        await asyncio.sleep(0.02)
        assert model.calls == [[1], [2, 3]]  # it waits
        other = ask(batcher, [5])
        await asyncio.gather(soon, other)
        assert model.calls[2:] == [[4, 5]]

    run(body, wait=0.3)


def test_a_large_request_is_cut_and_does_not_hold_up_a_small_one() -> None:
    async def body(batcher: Batcher, model: Model) -> None:
        first = await while_busy(batcher, model)
        large = ask(batcher, list(range(100, 112)))
        await asyncio.sleep(0)
        small = ask(batcher, [2])
        await asyncio.sleep(0)
        model.may_go_on.set()
        await asyncio.gather(first, large, small)
        assert twice(large.result()) == [2 * number for number in range(100, 112)]
        assert [len(call) for call in model.calls] == [1, 4, 4, 4, 1]
        assert 2 in model.calls[2]
        assert large.result().batches == [4, 4, 4, 1]

    run(body)


def test_tokens_limit_a_call_and_one_row_may_have_more() -> None:
    async def body(batcher: Batcher, model: Model) -> None:
        first = await while_busy(batcher, model)
        tasks = [ask(batcher, [2], 60), ask(batcher, [3], 60), ask(batcher, [4], 500)]
        await asyncio.sleep(0)
        model.may_go_on.set()
        await asyncio.gather(first, *tasks)
        assert model.calls == [[1], [2], [3], [4]]

    run(body)


def test_a_row_that_fails_fails_its_request_alone() -> None:
    async def body(batcher: Batcher, model: Model) -> None:
        first = await while_busy(batcher, model)
        good, bad, also_good = ask(batcher, [2]), ask(batcher, [13]), ask(batcher, [3])
        await asyncio.sleep(0)
        model.may_go_on.set()
        await first
        with pytest.raises(ValueError, match="unlucky"):
            await bad
        assert (twice(await good), twice(await also_good)) == ([4], [6])
        with pytest.raises(ValueError, match="0 records for 1 rows"):
            await ask(batcher, [14])
        assert twice(await ask(batcher, [7])) == [14]

    run(body)


def test_a_request_that_is_given_up_is_not_computed() -> None:
    async def body(batcher: Batcher, model: Model) -> None:
        first = await while_busy(batcher, model)
        given_up, kept = ask(batcher, [2]), ask(batcher, [3])
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        model.may_go_on.set()
        await asyncio.gather(first, kept)
        assert model.calls == [[1], [3]]

    run(body)


def test_numbers_count_as_the_texts_they_become() -> None:
    row = {"tokens": [1, 22], "context": 4.5}
    assert text_bytes(row) == 6 and texts_of(row) == ["1", "22", "4.5"]
