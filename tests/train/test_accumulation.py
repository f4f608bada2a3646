"""k micro-batches of b examples have the gradient of one batch of k x b, in one process and over
two that run out of memory apart.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from exhausted import refuse_rows
from ftr.errors import RunError
from ftr.train.batches import Shard
from ftr.train.hardware import Ladder
from ftr.train.steps import Objective
from stepping import Case, trainer_of

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

EXACT = 1e-6
"""Relative, of the whole gradient: fp32 has 24 bits, and sums in another order lose two or three of
them.
"""


@pytest.fixture(scope="module", params=["classification", "qa"])
def case(request: pytest.FixtureRequest, tiny_bert: Path) -> Case:
    return Case(request.param, tiny_bert)


def distance(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """Return how far apart two gradients are, relative to the second one's length."""
    mine, whole = (torch.cat([one.flatten() for one in part]).double() for part in (ours, theirs))
    return float((mine - whole).norm() / whole.norm())


def weights_of(case: Case) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return weights of a row that all its windows have."""
    by_row: np.ndarray[Any, np.dtype[np.float64]] = np.array([0.3, 1.0, 4.0])[
        np.asarray(case.features["row"]) % 3
    ]
    return by_row


@pytest.mark.parametrize(("size", "examples"), [(1, 0), (2, 0), (3, 0), (4, 0), (3, 9), (4, 9)])
@pytest.mark.parametrize(
    ("weighted", "smoothing"), [(False, 0.0), (True, 0.0), (False, 0.1), (True, 0.1)]
)
def test_micro_batches_have_the_gradient_of_one_batch(
    case: Case, size: int, examples: int, weighted: bool, smoothing: float, tmp_path: Path
) -> None:
    """With `examples` in a batch an epoch ends with a shorter one, which is cut unevenly too."""
    results = []
    for limit in (1000, size):
        steps = case.steps(
            limit,
            batch=examples or len(case.features),
            weights=weights_of(case) if weighted else None,
        )
        assert limit == 1000 or max(len(step) for step in steps) > 1  # type: ignore[attr-defined]
        trainer = trainer_of(case, steps, tmp_path, smoothing)
        for number in range(len(steps)):
            case.model.zero_grad()
            loss = trainer.training_step(case.model, steps[number]).item()
            results.append((loss, case.gradients()))
    half = len(results) // 2
    assert half == (1 if not examples else -(-len(case.features) // examples))
    for (loss, gradients), (cut, pieces) in zip(results[:half], results[half:], strict=True):
        assert cut == pytest.approx(loss, rel=EXACT) and distance(pieces, gradients) < EXACT


def _work(
    rank: int, meeting: Path, folder: Path, name: str, least: tuple[int, int], answers: Queue[Any]
) -> None:
    """Take two steps as one of two workers, one of which may have less memory, and one more step
    that has fitted before.
    """
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE="2",
        LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT="1",
    )
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2
    )
    try:
        case = Case(name, folder)
        seen = refuse_rows(case.model, least[rank], "forward" if rank else "backward")
        steps = case.steps(
            1024, 4096, batch=len(case.features) - 1, share=Shard(rank, 2), weights=weights_of(case)
        )
        ladder = Ladder(1024, 4096, auto=True, top=4096)
        trainer = trainer_of(case, steps, folder, 0.1, ladder)
        wrapped = trainer.accelerator.prepare_model(case.model)
        got: list[Any] = [type(wrapped).__name__]
        summed: list[object] = []
        wrapped.register_forward_pre_hook(lambda *inputs: summed.append(None))
        for number in (0, 1, 0):
            case.model.zero_grad()
            loss = trainer.training_step(wrapped, steps[number])
            torch.distributed.all_reduce(loss)
            got.append(
                (
                    float(loss) / 2,
                    [one.numpy() for one in case.gradients()],
                    list(seen),
                    len(summed),
                )
            )
            seen.clear()
            summed.clear()
        answers.put((rank, got, ladder.tokens, ladder.times))
    except BaseException as error:
        answers.put((rank, repr(error), None, None))
    finally:
        answers.close()
        answers.join_thread()
        # What is torn down in another order than it was made may wait for ever.
        os._exit(0)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("classification", (99, 1)),
        ("classification", (2, 1)),
        ("classification", (99, 99)),
        ("qa", (1, 99)),
    ],
)
def test_two_workers_agree_on_the_size_of_passes_and_have_the_gradient_of_one(
    tiny_bert: Path, name: str, least: tuple[int, int], tmp_path: Path
) -> None:
    case = Case(name, tiny_bert)
    steps = case.steps(1000, batch=len(case.features) - 1, weights=weights_of(case))
    trainer = trainer_of(case, steps, tmp_path, 0.1)
    wanted = []
    for number in (0, 1, 0):
        case.model.zero_grad()
        wanted.append((trainer.training_step(case.model, steps[number]).item(), case.gradients()))
    found = run_two(tiny_bert, name, least, tmp_path / "meeting")
    assert [rank for rank, *_ in found] == [0, 1]
    for rank, got, tokens, times in found:
        assert isinstance(got, list) and got[0] == "DistributedDataParallel", got
        for (loss, gradients), (their_loss, theirs, *_) in zip(wanted, got[1:], strict=True):
            assert their_loss == pytest.approx(loss, rel=1e-5)
            assert distance([torch.from_numpy(one) for one in theirs], gradients) < EXACT
        # The worker that had less memory tried again, the other with it; what fitted is not tried
        # again.
        assert (times > 0) is (min(least) < 99) and tokens == found[0][2]
        assert (len(got[1][2]) > len(got[3][2])) is (times > 0) and max(got[3][2]) <= least[rank]
        # Only a step that has fitted before is left to DDP, which cannot begin again.
        assert got[1][3] == 0 and got[3][3] == len(got[3][2])


def run_two(folder: Path, name: str, least: tuple[int, int], meeting: Path) -> list[Any]:
    """Return what two processes answered. They are forked: all that they need is imported."""
    context = multiprocessing.get_context("fork")
    answers: Queue[Any] = context.Queue()
    workers = [
        context.Process(target=_work, args=(rank, meeting, folder, name, least, answers))
        for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    try:
        return sorted(
            (answers.get(timeout=120) for _ in workers), key=lambda answer: int(answer[0])
        )
    finally:
        for worker in workers:
            worker.join(timeout=30)
            worker.kill()


def test_a_model_that_is_divided_over_workers_is_told_to_take_smaller_passes(
    tiny_bert: Path, tmp_path: Path
) -> None:
    case = Case("classification", tiny_bert)
    refuse_rows(case.model, 2)
    steps = case.steps(1024, 4096)
    trainer = trainer_of(case, steps, tmp_path, ladder=Ladder(1024, 4096, auto=True, top=4096))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(trainer.accelerator), "distributed_type", "FSDP")
        with pytest.raises(RunError, match="out of memory in a pass of 11 rows"):
            trainer.accumulator.step(case.model, case.model, steps[0], steps.batches[0])


def test_the_objective_of_a_trainer_is_that_of_its_head(case: Case, tmp_path: Path) -> None:
    trainer = trainer_of(case, case.steps(), tmp_path)
    assert trainer.accumulator.objective == Objective(case.head)
