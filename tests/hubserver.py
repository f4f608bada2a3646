"""A small server that speaks the upload and download protocol of the Hugging Face Hub, as the
client in `huggingface_hub` uses it: repositories with branches and commits, small files in the
commit, large ones through LFS, and a token. It answers on the loopback alone.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

TOKEN, USER = "hf_" + "x" * 30, "me"
LARGE = (".safetensors", ".onnx")


@dataclass
class Repository:
    """A repository: its commits, oldest first, of files by path, and the branches that point at
    them.
    """

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    messages: list[str] = field(default_factory=list)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Return the files of a branch or commit."""
        return self.commits[self.branches.get(revision, revision)]


@dataclass
class Hub:
    """What the server has, and what it saw: `calls` are method and path of each request.

    `cut` is how many uploads of large files are cut off in the middle, `failing` the status with
    which every request is answered.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    cut: int = 0
    failing: int = 0


def git_hash(content: bytes) -> str:
    """Return the id that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def oid(path: str, content: bytes) -> str:
    """Return by what the client finds out whether a file changed."""
    return hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else git_hash(content)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, found: object, status: int = 200, **headers: str) -> None:
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send({"error": message}, status, X_Error_Code=code, X_Error_Message=message)

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.calls.append(f"{self.command} {path}")
        if self.command == "PUT":
            self._store(path.removeprefix("/lfs/"))
            return
        body = self._body()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.hub.failing:
            self._refuse(self.hub.failing, "", "the hub is being repaired")
        elif token and token != TOKEN:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        else:
            for pattern, method in ROUTES:
                if found := re.fullmatch(pattern, f"{self.command} {path}"):
                    getattr(self, method)(body, *found.groups())
                    return
            self._refuse(404, "EntryNotFound", f"no route {path}")

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _store(self, digest: str) -> None:
        if self.hub.cut:
            self.hub.cut -= 1
            self.rfile.read(100)
            self.close_connection = True
            self.connection.close()
            return
        content = self._body()
        assert hashlib.sha256(content).hexdigest() == digest
        self.hub.objects[digest] = content
        self._send({})

    def _found(self, name: str) -> Repository | None:
        known = self.hub.repositories.get(name)
        if known is None or (known.private and not self.headers.get("Authorization")):
            self._refuse(
                404 if self.headers.get("Authorization") else 401, "RepoNotFound", "no repo"
            )
            return None
        return known

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        owner = asked.get("organization") or USER
        name = f"{owner}/{asked['name']}"
        if owner != USER:
            self._refuse(403, "", f"You don't have the rights to create a model under {owner}")
        elif name in self.hub.repositories:
            self._refuse(409, "", "You already created this model repo")
        else:
            private = asked.get("private", asked.get("visibility") == "private")
            self.hub.repositories[name] = Repository(private=bool(private))
            self._send({"url": f"{self.hub.url}/{name}", "name": name})

    def _info(self, body: bytes, name: str, revision: str | None) -> None:
        if repository := self._found(name):
            at = revision or "main"
            commit = repository.branches.get(at, at)
            if commit not in repository.commits:
                self._refuse(404, "RevisionNotFound", "no revision")
                return
            files = [{"rfilename": one} for one in repository.commits[commit]]
            about = {"id": name, "sha": commit, "private": repository.private, "siblings": files}
            self._send(about)

    def _branch(self, body: bytes, name: str, branch: str) -> None:
        if repository := self._found(name):
            if branch in repository.branches:
                self._refuse(409, "", "the branch exists")
            else:
                repository.branches[branch] = repository.branches["main"]
                self._send({})

    def _tree(self, body: bytes, name: str, revision: str) -> None:
        if repository := self._found(name):
            entries: list[dict[str, Any]] = []
            for path, content in repository.files(revision).items():
                entry = {
                    "type": "file",
                    "path": path,
                    "size": len(content),
                    "oid": git_hash(content),
                }
                if path.endswith(LARGE):
                    lfs = {"oid": oid(path, content), "size": len(content), "pointerSize": 130}
                    entry["lfs"] = lfs
                entries.append(entry)
            self._send(entries)

    def _validate(self, body: bytes) -> None:
        _, front, _ = json.loads(body)["content"].split("---\n", 2)
        found, errors = yaml.safe_load(front), []
        for key, kind in (("license", str), ("tags", list), ("base_model", str), ("labels", list)):
            if key in found and not isinstance(found[key], kind):
                errors.append({"message": f'"{key}" must be a {kind.__name__}'})
        self._send({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _preupload(self, body: bytes, name: str, revision: str) -> None:
        if repository := self._found(name):
            there = repository.files(revision)
            answers = []
            for one in json.loads(body)["files"]:
                path = one["path"]
                mode = "lfs" if path.endswith(LARGE) else "regular"
                known = oid(path, there[path]) if path in there else None
                answers.append(
                    {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": known}
                )
            self._send({"files": answers})

    def _batch(self, body: bytes, name: str) -> None:
        if self._found(name):
            objects = []
            for one in json.loads(body)["objects"]:
                answer = {"oid": one["oid"], "size": one["size"]}
                if one["oid"] not in self.hub.objects:
                    answer["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}
                objects.append(answer)
            self._send({"transfer": "basic", "objects": objects})

    def _commit(self, body: bytes, name: str, revision: str) -> None:
        if repository := self._found(name):
            files = dict(repository.files(revision))
            for line in body.splitlines():
                key, value = (json.loads(line)[part] for part in ("key", "value"))
                if key == "header":
                    repository.messages.append(value["summary"])
                elif key == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
                elif key == "deletedFile":
                    del files[value["path"]]
            made = hashlib.sha1(b"%d" % len(repository.commits) + body).hexdigest()
            repository.commits[made] = files
            repository.branches[revision] = made
            self._send({"commitUrl": f"{self.hub.url}/{name}/commit/{made}", "commitOid": made})

    def _resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        if repository := self._found(name):
            content = repository.files(revision)[path]
            commit = repository.branches.get(revision, revision)
            tag = f'"{oid(path, content)}"'
            self._send(content, ETag=tag, X_Linked_Etag=tag, X_Repo_Commit=commit)


_REPOSITORY = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    (r"POST /api/repos/create", "_create"),
    (r"POST /api/validate-yaml", "_validate"),
    (rf"GET /api/models/{_REPOSITORY}(?:/revision/(.+))?", "_info"),
    (rf"POST /api/models/{_REPOSITORY}/branch/(.+)", "_branch"),
    (rf"GET /api/models/{_REPOSITORY}/tree/([^/]+)/?", "_tree"),
    (rf"POST /api/models/{_REPOSITORY}/preupload/(.+)", "_preupload"),
    (rf"POST /api/models/{_REPOSITORY}/commit/(.+)", "_commit"),
    (rf"POST /{_REPOSITORY}\.git/info/lfs/objects/batch", "_batch"),
    (rf"(?:GET|HEAD) /{_REPOSITORY}/resolve/([^/]+)/(.+)", "_resolve"),
)


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Serve an empty hub."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def hub_in_this_process(cache: str) -> Iterator[Hub]:
    """Serve an empty hub that `huggingface_hub` in this process takes for the Hub, with a token.

    It has read `HF_ENDPOINT` and its like when it was imported.
    """
    from huggingface_hub import close_session, constants

    with serving() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_CACHE", cache)
        patch.setattr(constants, "HF_TOKEN_PATH", f"{cache}/no-token")
        close_session()
        yield hub
        close_session()
