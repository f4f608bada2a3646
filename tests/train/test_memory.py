"""Running out of memory: a training goes on with smaller passes and comes to the same, down to one
row; so does evaluation.
"""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from exhausted import Where, machine, refuse_rows
from ftr.errors import ConfigError, RunError
from ftr.train.hardware import Ladder, is_out_of_memory
from interruptions import resumed
from stepping import Case, trainer_of
from trainings import QUESTIONS, REVIEWS, losses, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

STILL = {"train.dropout": 0.0, "train.attention_dropout": 0.0}
SHORT = {**STILL, "epochs": 1, "train.eval_on_start": False}


def numbers(run: RunResult) -> dict[str, float]:
    return {key: value for key, value in run.scores.items() if isinstance(value, float)}


def ladder(top: int = 4096) -> Ladder:
    return Ladder(1024, top, auto=True, top=top)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: "
                "you tried to allocate 8"
            ),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"), True),
        (
            RuntimeError(
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
            ),
            True,
        ),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (RunError("out of memory: said already"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_running_out_of_memory_is(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) is memory


@pytest.mark.parametrize(
    ("most", "where"),
    [*((most, "forward") for most in range(1, 11)), (1, "backward"), (4, "backward")],
)
def test_a_step_that_ran_out_of_memory_has_the_gradient_of_the_whole_batch(
    tiny_bert: Path, most: int, where: Where, tmp_path: Path
) -> None:
    case = Case("classification", tiny_bert)
    loss, gradients = case.whole()
    case.model.zero_grad()
    seen = refuse_rows(case.model, most, where)
    steps = case.steps(1024, 4096)
    down = ladder()
    got = trainer_of(case, steps, tmp_path, ladder=down).training_step(case.model, steps[0])
    assert got.item() == pytest.approx(loss, abs=1e-6) and seen[0] == 11 and down.times >= 1
    assert (
        max(len(micro.inputs["input_ids"]) for micro in steps[0]) <= most and not down.checkpointing
    )
    for ours, plain in zip(case.gradients(), gradients, strict=True):
        assert torch.allclose(ours, plain, atol=1e-6)


def test_a_step_is_begun_again_with_its_random_numbers(tiny_bert: Path, tmp_path: Path) -> None:
    """Where only activations are computed again, and passes stay as they are, dropout masks do so
    too.
    """
    drops = Case("classification", tiny_bert)
    for module in drops.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    results = []
    for fails in (False, True):
        torch.manual_seed(3)
        drops.model.zero_grad()
        steps = drops.steps(1, 1)
        if fails:
            refuse_rows(drops.model, 0, checkpointed=1)
        down = ladder(1)
        got = (
            trainer_of(drops, steps, tmp_path, ladder=down)
            .training_step(drops.model, steps[0])
            .item()
        )
        results.append(
            (got, [gradient.clone() for gradient in drops.gradients()], torch.rand(1).item())
        )
        assert down.checkpointing is fails and down.times == int(fails)
    (loss, gradients, after), (again, repeated, drawn) = results
    assert again == loss and after == drawn
    assert all(torch.equal(one, other) for one, other in zip(gradients, repeated, strict=True))


def test_nothing_of_a_pass_that_failed_stays_in_memory(tiny_bert: Path, tmp_path: Path) -> None:
    case = Case("classification", tiny_bert)
    alive: list[weakref.ref[torch.Tensor]] = []
    left: list[int] = []

    def note(module: torch.nn.Module, args: Any, output: Any) -> None:
        left.append(sum(one() is not None for one in alive))
        alive.append(weakref.ref(output.logits))
        if len(output.logits) > 2:
            raise MemoryError

    case.model.register_forward_hook(note)
    steps = case.steps(1024, 4096)
    trainer_of(case, steps, tmp_path, ladder=ladder()).training_step(case.model, steps[0])
    assert len(left) > 5 and not any(left)


def test_where_one_row_does_not_fit_activations_are_computed_again_from_the_top(
    tiny_bert: Path, tmp_path: Path
) -> None:
    case = Case("classification", tiny_bert)
    loss, gradients = case.whole()
    case.model.zero_grad()
    seen = refuse_rows(case.model, 0, checkpointed=6)
    steps, down = case.steps(1024, 4096), ladder()
    got = trainer_of(case, steps, tmp_path, ladder=down).training_step(case.model, steps[0])
    first = seen.index(1)
    assert seen[first + 1] == 11 and down.checkpointing
    assert got.item() == pytest.approx(loss, abs=1e-6)
    for ours, plain in zip(case.gradients(), gradients, strict=True):
        assert torch.allclose(ours, plain, atol=1e-6)


def test_the_bottom_is_said_with_what_would_help(tiny_bert: Path, tmp_path: Path) -> None:
    alone = Case("classification", tiny_bert)
    refuse_rows(alone.model, 0)
    steps = alone.steps(1024, 4096)
    with pytest.raises(
        RunError,
        match=r"not even one row of 4[0-9] tokens fits with its activations computed again",
    ) as raised:
        trainer_of(alone, steps, tmp_path, ladder=ladder()).training_step(alone.model, steps[0])
    assert all(
        f"`{key}`" in str(raised.value)
        for key in ("train.micro_batch_size", "batch_size", "data.max_length")
    )


def test_a_given_micro_batch_is_not_changed(tiny_bert: Path, tmp_path: Path) -> None:
    case = Case("classification", tiny_bert)
    seen = refuse_rows(case.model, 3)
    steps = case.steps(4)
    with pytest.raises(
        RunError,
        match=r"out of memory in a pass of 4 rows of 4[0-9] tokens: lower "
        r"`train.micro_batch_size=4`",
    ):
        trainer_of(case, steps, tmp_path).training_step(case.model, steps[0])
    assert seen == [4]


def test_other_errors_come_out_as_they_are(tiny_bert: Path, tmp_path: Path) -> None:
    case = Case("classification", tiny_bert)

    def fail(*args: object) -> None:
        raise RuntimeError("index out of range")

    case.model.register_forward_pre_hook(fail)
    steps = case.steps(1024, 4096)
    with pytest.raises(RuntimeError, match="index out of range"):
        trainer_of(case, steps, tmp_path, ladder=ladder()).training_step(case.model, steps[0])


@pytest.fixture(scope="module", params=["sentiment", "qa"])
def undisturbed(
    request: pytest.FixtureRequest,
    tiny_bert: Path,
    reviews: Path,
    questions: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, object], RunResult]:
    """Settings of a training, and its result with all the memory it wants."""
    settings, dataset = (
        (REVIEWS, reviews) if request.param == "sentiment" else (QUESTIONS, questions)
    )
    asked = {
        **settings,
        **SHORT,
        "batch_size": 4,
        "dataset": dataset,
        "model": tiny_bert,
        "output": tmp_path_factory.mktemp("runs"),
    }
    return asked, train(asked)


@pytest.mark.parametrize("most", [pytest.param(1, marks=pytest.mark.slow), 2, 3])
def test_a_run_at_every_limit_down_to_one_row_has_the_losses_of_one_without(
    undisturbed: tuple[dict[str, object], RunResult], most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, plain = undisturbed
    with machine(lambda model: refuse_rows(model, most)) as passes:
        tight = train(asked)
    told = [line for line in capsys.readouterr().err.splitlines() if "out of memory" in line]
    assert told and all(
        "passes now take at most" in line and "`batch_size` and the result stay as they are" in line
        for line in told
    )
    assert max(passes[0][-1:]) <= most < max(passes[0])
    curve, wanted = losses(tight), losses(plain)
    assert len(curve) > 5 and curve == pytest.approx(wanted, abs=1e-5)
    memory = tight.record["memory"]
    assert (
        memory["out_of_memory"] >= 1
        and memory["micro_batch"]["tokens"] < 4096
        and not memory["activation_checkpointing"]
    )
    assert (
        plain.record["memory"]["out_of_memory"] == 0
        and plain.record["memory"]["micro_batch"]["tokens"] == 4096
    )
    assert numbers(tight) == pytest.approx(numbers(plain), abs=1e-5)


@pytest.mark.slow
def test_the_size_that_was_found_is_kept_across_resume(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    asked = {
        **REVIEWS,
        **SHORT,
        "epochs": 2,
        "dataset": reviews,
        "model": tiny_bert,
        "output": tmp_path,
        "train.save_steps": 2,
    }
    whole = train(asked, **{"train.save_steps": 0, "output": tmp_path / "whole"})

    class Gone(Exception):
        pass

    def tight(model: Any) -> list[int]:
        seen = refuse_rows(model, 2, checkpointed=4)

        def leave(*args: object) -> None:
            if len(seen) > 40:
                raise Gone

        model.register_forward_pre_hook(leave)
        return seen

    with machine(tight), pytest.raises(Gone):
        train(asked, output=tmp_path / "cut")
    (run,) = (tmp_path / "cut").iterdir()
    with machine(lambda model: refuse_rows(model, 2)) as passes:
        again = resumed(run)
    assert max(passes[0]) <= 2
    assert again.record["memory"]["out_of_memory"] > 0
    assert losses(again) == pytest.approx(losses(whole), abs=1e-5)


def test_a_run_with_activation_checkpointing_is_the_same_run(
    undisturbed: tuple[dict[str, object], RunResult],
) -> None:
    asked, plain = undisturbed
    again = train(asked, **{"train.activation_checkpointing": True})
    assert (
        losses(again) == losses(plain)
        and again.record["memory"]["activation_checkpointing"] is True
    )
    assert "gradient_checkpointing" not in (again.model / "config.json").read_text()


def test_a_model_that_cannot_compute_activations_again_is_refused(
    undisturbed: tuple[dict[str, object], RunResult],
) -> None:
    asked, _ = undisturbed

    def cannot(model: Any) -> None:
        model.supports_gradient_checkpointing = False

    with (
        machine(cannot),
        pytest.raises(
            ConfigError,
            match=r"`train.activation_checkpointing`: a `BertFor.*` of transformers does not support it",
        ),
    ):
        train(asked, **{"train.activation_checkpointing": True})


def test_a_run_whose_evaluation_ran_out_of_memory_says_so(
    undisturbed: tuple[dict[str, object], RunResult],
) -> None:
    asked, plain = undisturbed

    def tight(model: Any) -> None:
        def before(module: Any, args: Any, inputs: dict[str, Any]) -> None:
            if not module.training and len(inputs["input_ids"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        model.register_forward_pre_hook(before, with_kwargs=True)

    with machine(tight):
        got = train(asked)
    assert numbers(got) == pytest.approx(numbers(plain), abs=1e-5)
    assert (
        got.record["memory"]["evaluation"]["times"]
        > 0
        == plain.record["memory"]["evaluation"]["times"]
    )
    with machine(tight), pytest.raises(RunError, match=r"lower `train.eval_batch_size=3`"):
        train(asked, **{"train.eval_batch_size": 3})


def test_memory_that_runs_out_in_the_optimizer_is_said(
    undisturbed: tuple[dict[str, object], RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = undisturbed

    def fail(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)
    with pytest.raises(RunError, match="outside of a pass, so smaller passes would not help"):
        train(asked)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tunes the allocator of glibc")
def test_freed_memory_is_used_again_in_a_training_and_given_back_after_it() -> None:
    """In a process of its own: what else a process has allocated decides where memory lies."""
    program = """
import resource, torch
from ftr.train.costs import memory_now
from ftr.train.hardware import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(12_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
with kept_memory("cpu"):
    faults()
    kept, held = faults(), memory_now()
print(plain, kept, held - memory_now(), faults())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    plain, kept, returned, after = map(int, done.stdout.split())
    assert kept * 10 < plain and kept * 10 < after
    assert returned > 40_000_000
