"""The `ftr` command with trials that do not train: `python benchmarks/simulated.py sweep …`, or
`resume …`.

All is as it always is (driver, searcher, scheduler, journal, Ray Tune, trial processes, the export
of the winner) but for the one function that a trial process runs. In its place a trial leaves a
copy of the run directory in `<output>/template`, which a real trial made, and reports made-up
scores: one evaluation for each epoch, with all the scores of the real one. `sweep_simulated.py`
runs it as a process of its own.
"""

import sys
from typing import Any

from ftr.cli.main import main
from ftr.study import trial


def simulated(config: dict[str, Any], shared: Any) -> None:
    """Stand for `ftr.study.trial.run_trial`."""
    import json
    import math
    import os
    import shutil
    from pathlib import Path

    from ray import tune

    from ftr.runs.directory import RunDirectory, hold
    from ftr.study.trial import ORPHAN_SECONDS, Reports, evaluations

    values = config["config"]
    run = RunDirectory(Path(shared.folder) / f"{config['trial']:04d}")
    template = Path(shared.folder).parents[1] / "template"
    run.path.mkdir(exist_ok=True)
    with hold(run.path, seconds=ORPHAN_SECONDS):
        if not run.record.is_file():
            shutil.copytree(
                template,
                run.path,
                copy_function=os.link,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns(".lock", "run.json"),
            )
            record = json.loads((template / "run.json").read_text(encoding="utf-8"))
            run.write(
                {**record, "trial": config["trial"], "process": os.getpid(), "config": values}
            )
        real = evaluations(run, shared.primary)[-1]
        send, found = Reports(tune.report), []
        for epoch in range(1, math.ceil(values["epochs"]) + 1):
            # Best at a learning rate of 1e-4, and better with every epoch.
            value = 1 - 0.1 * abs(math.log10(values["learning_rate"]) + 4) - 0.2 / epoch
            scores = {**real["scores"], shared.primary: value}
            found.append(
                {
                    "epoch": float(epoch),
                    "step": epoch,
                    "value": value,
                    "scores": scores,
                    "seconds": 0.0,
                }
            )
            send(found[-1])
    tune.report({**send.last, "final": {"status": "done", "evaluations": found}})


if __name__ == "__main__":
    trial.run_trial = simulated
    sys.exit(main())
