"""Inputs of `ftr predict` behind a URL: a web server, an S3-compatible one, and what goes wrong."""

from __future__ import annotations

import functools
import gzip
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ftr.data.remote import matching, open_url
from ftr.errors import DataError, RequestError
from ftr.paths import is_url
from readers import unlabelled_of
from s3 import CREDENTIALS, s3_server
from trainings import write_csv

TEXTS = [f"text {number} é" for number in range(500)]


def fill(folder: Path) -> None:
    """Write one table in three forms."""
    import pyarrow as pa
    from pyarrow import parquet

    path = write_csv(folder / "a.csv", ("text",), [(text,) for text in TEXTS])
    (folder / "a.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    parquet.write_table(pa.table({"text": TEXTS}), folder / "a.parquet")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server, which knows no ranges, with the files."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *given: object) -> None:
            pass

    fill(tmp_path)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_file_of_a_web_server_is_read(name: str, web: str) -> None:
    found = unlabelled_of(open_url(f"{web}/{name}"))
    assert [row["text"] for row in found.rows] == TEXTS and found.places[0].startswith(f"{name}:")


def test_what_is_not_there_is_named_without_secrets(web: str) -> None:
    with pytest.raises(DataError) as error:
        open_url(f"{web.replace('//', '//me:hush@')}/none.csv?token=hush")
    assert "none.csv" in str(error.value) and "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("smb://server/a.csv", "package for `smb://` is not installed: `pip install smbprotocol`"),
        ("nothing://a.csv", "`nothing://` is not known"),
    ],
)
def test_a_scheme_that_cannot_be_read_is_refused(url: str, message: str) -> None:
    with pytest.raises(RequestError) as error:
        open_url(url)
    assert message in str(error.value)


def test_paths_are_no_urls() -> None:
    assert not any(map(is_url, ("a.csv", "/a/b.csv", "-", "dataset.text=s3://a", "C:/a.csv")))
    assert is_url("s3://bucket/a.csv") and is_url("hf://datasets/a/b.csv")


@pytest.mark.slow
def test_a_file_of_a_bucket_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

    fill(tmp_path)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server(tmp_path) as server:
        filesystem, folder = FileSystem.from_uri(server.uri())
        for name in ("a.csv", "a.csv.gz", "a.parquet"):
            copy_files(
                str(tmp_path / name),
                f"{folder}/{name}",
                source_filesystem=LocalFileSystem(),
                destination_filesystem=filesystem,
            )
            found = unlabelled_of(open_url(server.uri(name)))
            assert [row["text"] for row in found.rows] == TEXTS
        with pytest.raises(DataError, match=r"cannot be read"):
            open_url(server.uri("none.csv"))
        for pattern in ("a.csv*", "**/a.csv*", "[a].csv*"):
            assert matching(server.uri(pattern)) == [server.uri(n) for n in ("a.csv", "a.csv.gz")]
        with pytest.raises(DataError, match=r"matches no file"):
            matching(server.uri("b*.csv"))


def test_patterns_of_web_servers_are_refused_and_other_urls_are_left_alone() -> None:
    with pytest.raises(RequestError, match="a web server lists no files: give each URL"):
        matching("https://server/a*.csv")
    urls = ["https://server/a.csv?part=*", "s3://bucket/year=2026/a.csv"]
    assert [one for url in urls for one in matching(url)] == urls


def test_patterns_of_urls_name_their_files(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "a.csv.d").mkdir()
    found = matching(f"file://{tmp_path}/*.csv*")
    assert found == [f"file://{tmp_path}/{name}" for name in ("a.csv", "a.csv.gz")]
    assert [row["text"] for row in unlabelled_of(open_url(found[0])).rows] == TEXTS
