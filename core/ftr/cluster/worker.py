"""How each process of Ray begins: importing this module there calls `quiet_worker`."""

from __future__ import annotations

import logging
import os
import sys


def quiet_worker() -> None:
    """Turn off the logs of Ray Train and torch in their own processes: errors come back to the
    driver, once.

    Names the cluster too: Ray Train's helpers look for one by themselves, and fail where another
    runs on the machine.
    """
    import ray

    os.environ.setdefault("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


if "ray" in sys.modules and sys.modules["ray"].is_initialized():
    quiet_worker()
