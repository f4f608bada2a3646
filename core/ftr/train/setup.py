"""The trainer of a session, put together from the configuration, the data and what a checkpoint left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PrinterCallback

from ftr.train.arguments import step_count, training_arguments
from ftr.train.averaging import Averages
from ftr.train.callbacks import Averaging, Unfreezing, Watch
from ftr.train.lora import local_base
from ftr.train.losses import Objective
from ftr.train.optimizer import rates_of
from ftr.train.sampling import BatchPlan, Share
from ftr.train.steps import Steps
from ftr.train.trainer import StepTrainer
from ftr.train.weighting import weigh

if TYPE_CHECKING:
    from ftr.train.session import Session


def make_trainer(session: Session, scratch: Path) -> StepTrainer:
    """Return the trainer of a session, and say what it will train; `scratch` is a folder for files that nobody needs later.

    Sets the session's `weighting`, and the number of steps on its `meter`.
    """
    config, engine, say = session.config, session.engine, session.line.say
    options, head, ladder, train = config.train, engine.head, session.memory.training, session.splits["train"]
    session.weighting = weigh(options, head, session.card.labels, train.rows, train.owners, session.row_weights)
    plan = BatchPlan(train.lengths, config.batch_size, config.seed, session.weighting.chances)
    share = Share(session.rank, session.world)
    steps = Steps(train.features, plan, share, head, engine.tokenizer, ladder.rows, ladder.tokens, session.weighting.weights)
    session.meter.steps = step_count(config, len(plan))
    scorer = session.scorer if "validation" in session.splits else None
    averages = Averages(engine.model, options.ema) if options.ema is not None else None
    _say_plan(session)
    trainer = StepTrainer(
        model=engine.model,
        args=training_arguments(config, session.numerics, scratch, scorer, session.world > 1, session.meter.steps),
        steps=steps,
        tokenizer=engine.tokenizer,
        evaluate=session.evaluate_and_keep,
        meter=session.meter,
        snapshots=session.snapshots,
        stop=session.stop,
        report=session.report if session.rank == 0 or session.report_everywhere else None,
        callbacks=[
            Watch(session.line, session.meter, session.record),
            Unfreezing(session.trains, len(plan), say, session.record),
            *([Averaging(averages)] if averages is not None else []),
        ],
        objective=Objective(head, options.label_smoothing),
        ladder=ladder,
        say=say,
        # What thaws after the model was wrapped, `DistributedDataParallel` would not sum.
        apart=options.unfreeze is not None,
        averages=averages,
        rates=rates_of(session.trains.parts, config),
    )
    if session.snapshots.free and session.stopping.stopped:
        # A trial that goes on with other settings has its patience before it again.
        session.stopping.stopped, session.stopping.since = None, 0
    trainer.over = session.stopping.stopped is not None
    trainer.remove_callback(PrinterCallback)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        session.snapshots.give_up("FSDP and DeepSpeed cut the optimizer's state into parts that are not read back yet")
    return trainer


def _say_plan(session: Session) -> None:
    """Say what trains, and what of the request will not come out as it may have been meant."""
    say, options, steps = session.line.say, session.config.train, session.meter.steps
    say(f"training {session.trains.line(session.trains.first)}")
    if options.warmup >= max(steps, 2):
        say(
            f"`train.warmup={options.warmup:g}` is no shorter than the training of {steps} steps: "
            "the learning rate comes to its peak only at the end"
        )
    base = local_base(session.engine.model)
    if base and not options.lora.merge:
        say(
            f"the adapters in `model/` name their base by its place on this machine, `{base}`: elsewhere it must be there too; "
            "`train.lora.merge=true` writes a checkpoint that needs no other"
        )
