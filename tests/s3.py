"""A real S3-compatible server in a process of its own, on a free port, with an empty bucket."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BUCKET = "trials"
REGION = "us-east-1"
CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
}


@dataclass(frozen=True)
class S3:
    """The server's address; `environment` is what a process needs to reach it by `s3://trials/…`
    alone.
    """

    address: str
    log: Path

    def requests(self, method: str, *parts: str) -> int:
        """How many requests of a method had all of `parts` in their path."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return sum(f"{method} /" in line and all(part in line for part in parts) for line in lines)

    @property
    def environment(self) -> dict[str, str]:
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{self.address}"}

    def uri(self, folder: str = "", bucket: str = BUCKET) -> str:
        """Return a URI that names the server itself; credentials still come from the
        environment.
        """
        return (
            f"s3://{bucket}/{folder}?endpoint_override={self.address}&scheme=http&region={REGION}"
        )

    def refuse_strangers(self, after: int) -> None:
        """Let so many more requests through, then check credentials: nobody is known to the
        server.
        """
        request = urllib.request.Request(
            f"http://{self.address}/moto-api/reset-auth",
            data=str(after).encode(),
            headers={"Content-Type": "text/plain"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=10):
            pass


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """Start the server, make the bucket, and end the server afterwards; its log goes to
    `folder`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "s3.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **CREDENTIALS},
        )
    try:
        _await(server, port, log)
        s3 = S3(f"127.0.0.1:{port}", log)
        _make_bucket(s3)
        yield s3
    finally:
        server.kill()
        server.wait()


def _await(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"the S3 server did not start: {log.read_text(encoding='utf-8')[-2000:]}")


def _make_bucket(s3: S3) -> None:
    from pyarrow.fs import S3FileSystem

    S3FileSystem(
        access_key="test",
        secret_key="test",
        region=REGION,
        scheme="http",
        endpoint_override=s3.address,
        allow_bucket_creation=True,
    ).create_dir(BUCKET)
