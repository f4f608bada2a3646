"""Datasets behind URLs, from a web server, and from a real S3-compatible one."""

import functools
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ftr.atomic import sha256
from ftr.data.downloads import FOLDER
from ftr.errors import DataError, RequestError
from readers import load, prepare, texts
from s3 import CREDENTIALS, S3, s3_server

ROWS = "text,label\n" + "".join(f"a film of number {n},{n % 2}\n" for n in range(40))


@dataclass
class Web:
    """A web server: its address, its folder, and what it does wrong.

    `cut` files end after half of their bytes, `growing` ones change while they are read; `tags`
    false: it tells no version.
    """

    url: str
    folder: Path
    gets: list[str] = field(default_factory=list)
    cut: bool = False
    growing: bool = False
    tags: bool = True

    def add(self, name: str, content: str = ROWS) -> str:
        (self.folder / name).write_text(content, encoding="utf-8")
        return f"{self.url}/{name}"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *given: object) -> None:
            pass

        def send_header(self, keyword: str, value: str) -> None:
            if keyword != "Last-Modified" or server.tags:
                super().send_header(keyword, value)

        def do_GET(self) -> None:
            server.gets.append(self.path)
            super().do_GET()

        def copyfile(self, source: Any, output: Any) -> None:
            content = source.read()
            output.write(content[: len(content) // 2] if server.cut else content)
            if server.growing:
                server.add(self.path.strip("/"), content.decode() + "one more,1\n")

    handler = functools.partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        server = Web(f"http://127.0.0.1:{httpd.server_port}", folder)
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield server
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / FOLDER


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_a_url_is_fetched_once_and_named_in_records(web: Web, cache: Path) -> None:
    url = web.add("reviews.csv")
    for _ in range(2):
        loaded = load(url)
        assert len(loaded.splits["train"]) == 40 and loaded.origins == {"train": "reviews.csv"}
        (source,) = loaded.sources
        assert (source.path, source.sha256) == (url, sha256(ROWS))
    assert web.gets == ["/reviews.csv"]
    assert [name for name in files(cache) if not name.endswith("lock")] == [
        "about.json",
        "reviews.csv",
    ]


def test_a_file_that_changed_is_fetched_again(web: Web) -> None:
    url = web.add("a.csv")
    assert len(load(url).splits["train"]) == 40
    web.add("a.csv", ROWS + "one more,1\n")
    assert len(load(url).splits["train"]) == 41
    web.tags = False
    assert [len(load(url).splits["train"]) for _ in range(2)] == [41, 41]
    assert len(web.gets) == 4, "without a version a file is fetched each time"


def test_lists_and_splits_may_mix_urls_and_files(web: Web, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(ROWS.replace("film", "book"), encoding="utf-8")
    loaded = load("files", train=[web.add("a.csv"), str(own)], test=web.add("b.csv", ROWS.upper()))
    assert {split: len(rows) for split, rows in loaded.splits.items()} == {"train": 80, "test": 40}
    assert [one.path for one in loaded.sources] == [
        f"{web.url}/a.csv",
        str(own),
        f"{web.url}/b.csv",
    ]


def test_errors_name_the_url_without_its_secrets(web: Web, cache: Path) -> None:
    web.add("a.csv", "only,one\n")
    url = f"{web.url.replace('//', '//me:hush1@')}/a.csv?X-Amz-Signature=hush2&token=hush3"
    with pytest.raises(DataError) as error:
        load(url)
    assert "a.csv" in str(error.value) and "hush" not in str(error.value)
    web.add("a.csv", "text,label\n")
    with pytest.raises(DataError, match=r"holds no rows"):
        load(url)
    with pytest.raises(
        DataError, match=r"none\.csv\S*` cannot be read: there is no such file"
    ) as error:
        load(url.replace("a.csv", "none.csv"))
    assert "hush" not in str(error.value)
    about = [json.loads(path.read_text()) for path in cache.rglob("about.json")]
    assert about and "hush" not in str(about)


def test_a_connection_that_is_cut_leaves_nothing_and_the_next_call_goes_on(
    web: Web, cache: Path
) -> None:
    urls = [web.add("a.csv"), web.add("b.csv", ROWS.replace("film", "book"))]
    load(urls[0])
    web.cut = True
    with pytest.raises(DataError, match=r"/b\.csv` (cannot be read|ended after)"):
        load("files", train=urls)
    assert [name for name in files(cache) if name.endswith("csv")] == ["a.csv"]
    web.cut = False
    assert len(load("files", train=urls).splits["train"]) == 80
    assert web.gets == ["/a.csv", "/b.csv", "/b.csv"]


def test_a_file_that_changes_while_it_is_fetched_is_refused(web: Web, cache: Path) -> None:
    url = web.add("a.csv")
    web.growing = True
    with pytest.raises(DataError, match=r"a\.csv` changed while it was fetched"):
        load(url)
    assert not [name for name in files(cache) if name.endswith("csv")]


def test_too_little_room_is_told_beforehand_with_numbers(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = web.add("a.csv", ROWS * 2000)
    usage = shutil.disk_usage("/")._replace(free=1_500_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"a\.csv` to fetch: 1\.8 MB, and .* has 1\.5 MB free"):
        load(url)
    assert not web.gets


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://host/part-*.csv", "a web server lists no files"),
        ("nothing://host/a.csv", "`nothing://` is not known"),
        ("smb://server/a.csv", "`pip install smbprotocol`"),
    ],
)
def test_urls_that_cannot_be_used_are_refused(url: str, message: str) -> None:
    with pytest.raises(RequestError, match=r"is not installed|not known|lists no files") as error:
        load(url)
    assert message in str(error.value)
    with pytest.raises(RequestError, match="contradicts"):
        load(url, train="a.csv")


@pytest.mark.slow
class TestBucket:
    @pytest.fixture
    def bucket(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        with s3_server(tmp_path) as server:
            yield server

    def put(self, bucket: S3, name: str, content: str) -> str:
        from pyarrow.fs import FileSystem

        filesystem, path = FileSystem.from_uri(bucket.uri(name))
        with filesystem.open_output_stream(path) as stream:
            stream.write(content.encode())
        return bucket.uri(name)

    def test_files_and_patterns_of_a_bucket_are_read_once(self, bucket: S3) -> None:
        for number in (0, 1, 10, 2, *range(3, 10)):
            row = f"text,label\nfilm {number},{number % 2}\nother {number},1\n"
            self.put(bucket, f"data/part-{number}.csv", row)
        url = bucket.uri("data/part-*.csv")
        for _ in range(2):
            rows = texts(prepare(url))
            assert [row for row in rows if "film" in row] == [f"film {n}" for n in range(11)]
        assert bucket.requests("GET", "part-10.csv") <= 4
        with pytest.raises(DataError, match=r"is a folder: name its files by a pattern"):
            load(bucket.uri("data"))
        with pytest.raises(DataError, match=r"none\.csv.* cannot be read"):
            load(bucket.uri("data/none.csv"))
        loaded = load("files", train=url, test=self.put(bucket, "test.csv", ROWS))
        assert loaded.sources[-1].path.startswith("s3://trials/test.csv")

    def test_a_bucket_that_goes_away_half_way(self, bucket: S3, cache: Path) -> None:
        urls = [
            self.put(bucket, f"{name}.csv", ROWS.replace("film", name)) for name in ("one", "two")
        ]
        load(urls[0])
        bucket.refuse_strangers(3)
        with pytest.raises(DataError, match=r"(one|two)\.csv.* cannot be read"):
            load("files", train=urls)
        assert [name for name in files(cache) if name.endswith("csv")] == ["one.csv"]


def test_a_run_of_a_url_keeps_no_secret_and_is_reproduced(
    web: Web, tiny_bert: Path, tmp_path: Path
) -> None:
    import ftr
    from ftr.results.reproduce import reproduce
    from trainings import REVIEWS, train

    url = f"{web.add('a.csv')}?token=hush-hush-1"
    asked = {**REVIEWS, "epochs": 1, "model": tiny_bert, "output": tmp_path / "runs"}
    run = train(asked, dataset=url)
    kept = [path for path in Path(run.path).rglob("*") if path.is_file()]
    assert not [path for path in kept if b"hush-hush-1" in path.read_bytes()]
    assert run.record["data"]["sources"][0]["path"] == f"{web.url}/a.csv?token=***"
    assert reproduce(run.path, check=True, dataset=url).status == "equal"
    assert ftr.evaluate(run.path, {"dataset": url}) and web.gets == ["/a.csv?token=hush-hush-1"]
    web.add("a.csv", ROWS.replace("film", "filn"))
    with pytest.raises(
        DataError, match=r"a\.csv\?token=\*\*\*` is not what the run was trained on"
    ):
        reproduce(run.path, check=True, dataset=url)
