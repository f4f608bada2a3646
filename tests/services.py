"""Call a running service."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from interruptions import Process


def call(url: str, row: object = None, **headers: str) -> tuple[int, Any]:
    """Return the status and the JSON of an answer; status 0 where nobody answers."""
    body = None if row is None else json.dumps(row).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, None


def until_ready(url: str, process: Process) -> None:
    deadline = time.monotonic() + 120
    while call(f"{url}/ready")[0] != 200:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
