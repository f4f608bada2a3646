"""Load a service, and the handler that one would write by hand, with wrk: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

from measuring import WORDS

CLIENTS = (1, 16, 64)
PORT = 8765
URL = f"http://127.0.0.1:{PORT}/predict"

PLAIN = """
import sys
import torch
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
app = FastAPI()


class Row(BaseModel):
    text: str


@app.get("/ready")
def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/predict")
def predict(row: Row) -> dict[str, object]:
    with torch.inference_mode():
        inputs = tokenizer(row.text, truncation=True, max_length=128, return_tensors="pt")
        shares = model(**inputs).logits.softmax(-1)[0].tolist()
    best = max(range(len(shares)), key=shares.__getitem__)
    return {"label": model.config.id2label[best], "score": shares[best]}


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""
"""FastAPI runs such a handler in a pool of 40 threads: one row to a call of the model."""

WRK = """
local bodies = {%s}
local number = 0
request = function()
  number = number %% #bodies + 1
  return wrk.format("POST", nil, {["Content-Type"] = "application/json"}, bodies[number])
end
done = function(summary, latency, requests)
  io.write(string.format("found %%d %%d %%d %%d %%d %%d %%d\\n", summary.requests,
    summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""


def texts(count: int) -> list[str]:
    """Return made-up sentences of 3 to 40 words, always the same."""
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 40))) for _ in range(count)]


@contextmanager
def running(command: list[str]) -> Iterator[psutil.Process]:
    """Run a service until it is no longer needed; wait until it is ready."""
    process = psutil.Popen(command)
    try:
        deadline = time.monotonic() + 180
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(command)} does not become ready")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def served(run: str, *options: str) -> list[str]:
    """Return the command of the service."""
    command = [sys.executable, "-m", "ftr", "serve", f"model={run}", "--port", str(PORT)]
    return [*command, "--no-access-log", *options]


def load(script: Path, clients: int, seconds: float) -> dict[str, float]:
    """Return what wrk measured: requests a second, milliseconds, and how many failed."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
    done = subprocess.run(
        [*command, "-s", str(script), URL], capture_output=True, text=True, check=True
    )
    found = re.search(r"^found (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        sys.exit(done.stdout + done.stderr)
    count, microseconds, refused, lost, *percentiles = map(int, found[1].split())
    p50, p95, p99 = (value / 1000 for value in percentiles)
    return {
        "requests_per_second": round(count / (microseconds / 1e6), 1),
        "p50_ms": round(p50, 1),
        "p95_ms": round(p95, 1),
        "p99_ms": round(p99, 1),
        "refused": refused,
        "lost": lost,
    }


def compare(args: argparse.Namespace, folder: Path, script: Path) -> None:
    """Load the services in turn, `--pairs` times."""
    plain = folder / "plain.py"
    plain.write_text(PLAIN, encoding="utf-8")
    model = Path(args.run) / "model"
    sides = {
        "plain": [
            sys.executable,
            str(plain),
            str(model if model.is_dir() else args.run),
            str(PORT),
        ],
        "local": served(args.run, "--local", "--backend", args.backend),
    }
    if args.ray:
        sides["ray"] = served(args.run, "--backend", args.backend)
    for pair in range(args.pairs):
        for side, command in sides.items():
            with running(command):
                load(script, 4, min(2.0, args.seconds))
                for clients in CLIENTS:
                    found = load(script, clients, args.seconds)
                    print(json.dumps({"side": side, "pair": pair, "clients": clients, **found}))
                    sys.stdout.flush()


def soak(args: argparse.Namespace, script: Path) -> None:
    """Load `--local` for minutes and print its memory at every tenth of the time."""
    with running(served(args.run, "--local", "--backend", args.backend)) as process:
        for part in range(10):
            found = load(script, 16, args.soak * 6)
            memory = process.memory_info().rss / 2**20
            print(json.dumps({"part": part + 1, "memory_mb": round(memory, 1), **found}))
            sys.stdout.flush()


def post(body: bytes, kind: str = "application/json") -> int:
    """Return the status of an answer; 0: none came."""
    request = urllib.request.Request(URL, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        json.loads(error.read())
        return error.code
    except OSError:
        return 0


def malformed(rng: random.Random) -> tuple[bytes, str]:
    """Return a body that is wrong, or that may be: a good one with bytes changed."""
    kinds = (b"", b"null", b"3", b"[]", b"[[]]", b'{"text": NaN}', b'{"text": "a", "text": "b"}')
    more = (b"[" * 9999, b"\xff\xfe", b'{"txt": "a"}', b'{"text": "\\ud800"}', b"9" * 5000)
    choice = rng.randrange(20)
    if choice == 0:
        return json.dumps({"text": "a " * 5_000_000}).encode(), "application/json"
    if choice == 1:
        return b'{"text": "a good film"}', rng.choice(("text/plain", "", "application/xml"))
    if choice < 8:
        return rng.choice((*kinds, *more)), "application/json"
    body = bytearray(json.dumps([{"text": "a good film"}, {"question": "who ?"}]).encode())
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(body))
        body[place : place + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
    return bytes(body), "application/json"


def send_malformed(args: argparse.Namespace) -> None:
    """Send bad bodies to `--local`; a good one must be answered after each hundred."""
    rng, statuses = random.Random(args.seed), Counter[int]()
    with running(served(args.run, "--local", "--backend", args.backend)) as process:
        before = process.pid, process.num_threads()
        for number in range(args.malformed):
            statuses[post(*malformed(rng))] += 1
            if number % 100 == 99 and post(b'"a good film"') != 200:
                sys.exit(f"after {number + 1} bodies a good one is not answered")
        alive = process.is_running() and process.pid == before[0]
    print(json.dumps({"statuses": dict(sorted(statuses.items())), "alive": alive}))
    if not alive or statuses[500] or statuses[0]:
        sys.exit("a body made the service fail")


def kill_replica(args: argparse.Namespace) -> None:
    """Kill a replica of two under load, `--kills` times; print what callers got."""
    statuses, stop = Counter[int](), Event()

    def ask() -> None:
        while not stop.is_set():
            statuses[post(b'"a good film"')] += 1

    with running(served(args.run, "--replicas", "2", "compute.cpus=0.5")) as process:
        asking = [Thread(target=ask) for _ in range(8)]
        for thread in asking:
            thread.start()
        for _ in range(args.kills):
            deadline = time.monotonic() + 120
            while len(alive := _replicas(process)) < 2 and time.monotonic() < deadline:
                time.sleep(0.2)
            time.sleep(2)
            alive[0].kill()
            time.sleep(3)
        stop.set()
        for thread in asking:
            thread.join()
    print(json.dumps({"kills": args.kills, "statuses": dict(sorted(statuses.items()))}))
    if not {*statuses} <= {200, 503}:
        sys.exit("a request was lost")


def _replicas(process: psutil.Process) -> list[Any]:
    return [
        child
        for child in process.children(recursive=True)
        if " ".join(child.cmdline()).startswith("ray::ServeReplica:ftr-")
    ]


def main() -> None:
    """Measure what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a run with one text a row, or its model directory")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load (default: 20)")
    parser.add_argument("--pairs", type=int, default=1, help="rounds of all sides (default: 1)")
    parser.add_argument("--rows", type=int, default=1000, help="different rows (default: 1000)")
    parser.add_argument("--backend", choices=("torch", "onnx"), default="torch")
    parser.add_argument("--ray", action="store_true", help="load Ray Serve too")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="load it and print memory")
    parser.add_argument("--malformed", type=int, metavar="N", help="send N bad bodies")
    parser.add_argument("--seed", type=int, default=0, help="of the bad bodies (default: 0)")
    parser.add_argument("--kill-replica", action="store_true", help="kill replicas under load")
    parser.add_argument("--kills", type=int, default=3, help="how many (default: 3)")
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if args.malformed:
        send_malformed(args)
    elif args.kill_replica:
        kill_replica(args)
    elif shutil.which("wrk") is None:
        sys.exit("install wrk: `apt-get install wrk`")
    else:
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "rows.lua"
            bodies = [json.dumps(json.dumps({"text": text})) for text in texts(args.rows)]
            script.write_text(WRK % ",\n".join(bodies), encoding="utf-8")
            if args.soak:
                soak(args, script)
            else:
                compare(args, Path(folder), script)


if __name__ == "__main__":
    main()
