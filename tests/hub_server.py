"""A hub on this machine: the few addresses of huggingface.co that a download needs."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Repositories by id, each {file name: bytes}; `log` has (method, path, Range header).

    `gated` ids refuse access. `cut` breaks off answers for a file name after so many bytes, once
    per item in the list.
    """

    repos: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    cut: dict[str, list[int]] = field(default_factory=dict)
    log: list[tuple[str, str, str | None]] = field(default_factory=list)
    # Of a repository, who opened each pull request, and the files on its branch.
    requests: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)

    def start(self) -> str:
        """Serve on a free port; the address."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(hub, self, with_body=True)

            def do_HEAD(self) -> None:
                answer(hub, self, with_body=False)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        """Close the port, so that connections are refused."""
        self.server.shutdown()
        self.server.server_close()

    def fetched(self) -> list[str]:
        """Names of the files whose bytes were asked for."""
        return [
            path.split("/resolve/")[1].split("/", 1)[1]
            for method, path, _ in self.log
            if method == "GET" and "/resolve/" in path
        ]


@contextmanager
def served(
    repos: dict[str, dict[str, bytes]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHub]:
    """A hub that huggingface_hub takes for the real one, with its cache below `folder`."""
    fake = FakeHub(repos)
    address = fake.start()
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    try:
        yield fake
    finally:
        fake.stop()


def answer(hub: FakeHub, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
    path = unquote(urlsplit(request.path).path)
    hub.log.append((request.command, path, request.headers.get("Range")))
    repo = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
    files = hub.repos.get(repo)
    if files is None:
        return refuse(request, 404, "RepoNotFound")
    if repo in hub.gated:
        return refuse(request, 403, "GatedRepo")
    if path.startswith(f"/api/models/{repo}/discussions"):
        return answer_discussions(hub, request, repo)
    files, commit, path = on_branch(hub, repo, path)
    if path.startswith("/api/models/"):
        return answer_api(request, path, repo, files, commit)
    _, _, _, _, revision, name = path.split("/", 5)
    if revision not in ("main", COMMIT):
        return refuse(request, 404, "RevisionNotFound")
    if name not in files:
        return refuse(request, 404, "EntryNotFound")
    return send_file(hub, request, name, files[name], commit, with_body=with_body)


def on_branch(hub: FakeHub, repo: str, path: str) -> tuple[dict[str, bytes], str, str]:
    """Files and commit of the branch that a path names, and the path with "main" in its place.

    The first pull request's commit is 1111..., the second's 2222...
    """
    for number, (_, files) in enumerate(hub.requests.get(repo, ()), start=1):
        for revision in (f"refs/pr/{number}", str(number) * 40):
            if f"/{revision}" in path:
                return files, str(number) * 40, path.replace(f"/{revision}", "/main")
    return hub.repos[repo], COMMIT, path


def answer_discussions(hub: FakeHub, request: BaseHTTPRequestHandler, repo: str) -> None:
    found = [
        {
            "num": number,
            "title": "Adding `safetensors` variant of this model",
            "status": "open",
            "author": {"name": author},
            "isPullRequest": True,
            "repo": {"name": repo, "type": "model"},
            "createdAt": "2023-11-29T00:00:00.000Z",
        }
        for number, (author, _) in enumerate(hub.requests.get(repo, ()), start=1)
    ]
    return send_json(request, {"discussions": found, "count": len(found), "start": 0})


def answer_api(
    request: BaseHTTPRequestHandler, path: str, repo: str, files: dict[str, bytes], commit: str
) -> None:
    parts = path.split("/")[5:]
    if parts and parts[-1] not in ("main", COMMIT):
        return refuse(request, 404, "RevisionNotFound")
    if parts and parts[0] == "tree":
        return send_json(
            request,
            [
                {"type": "file", "path": name, "size": len(data), "oid": etag(data)}
                for name, data in files.items()
            ],
        )
    siblings = [
        {"rfilename": name, "size": len(data), "blobId": etag(data), "lfs": lfs(name, data)}
        for name, data in files.items()
    ]
    return send_json(request, {"id": repo, "sha": commit, "siblings": siblings})


def send_json(request: BaseHTTPRequestHandler, content: Any) -> None:
    body = json.dumps(content).encode()
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def send_file(
    hub: FakeHub,
    request: BaseHTTPRequestHandler,
    name: str,
    data: bytes,
    commit: str,
    *,
    with_body: bool,
) -> None:
    asked = request.headers.get("Range")
    start, stop = 0, len(data)
    if asked:
        first, last = asked.removeprefix("bytes=").split("-")
        start, stop = int(first), min(int(last) + 1, len(data)) if last else len(data)
    request.send_response(206 if asked else 200)
    request.send_header("ETag", f'"{etag(data)}"')
    request.send_header("X-Repo-Commit", commit)
    request.send_header("Accept-Ranges", "bytes")
    request.send_header("Content-Length", str(stop - start))
    if asked:
        request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
    request.end_headers()
    if with_body:
        cuts = hub.cut.get(name)
        request.wfile.write(data[start : start + cuts.pop(0)] if cuts else data[start:stop])


def refuse(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
    request.send_response(status)
    request.send_header("X-Error-Code", code)
    request.send_header("Content-Length", "0")
    request.end_headers()


def lfs(name: str, data: bytes) -> dict[str, Any] | None:
    """What the hub says of large files."""
    if not name.endswith(".safetensors"):
        return None
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}


def etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
