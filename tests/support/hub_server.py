"""A small, real server of the Hugging Face Hub's protocol, for the hub's own client.

It has what is needed to list and download a model: the commit of a revision, the tree of a commit, and the files. As
on the hub, the names of a gated model's files are public, and their content is not. The client reads its address from
``HF_ENDPOINT`` when it is imported: set it for a child process, or patch ``huggingface_hub.constants`` (ENDPOINT,
HUGGINGFACE_CO_URL_TEMPLATE, HF_HUB_CACHE, HF_HUB_OFFLINE), which the client reads at each call.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """Commits of a model, each a folder; ``main`` is the last one."""

    commits: dict[str, Path]
    gated: bool = False

    def commit(self, revision: str) -> str | None:
        return list(self.commits)[-1] if revision == "main" else revision if revision in self.commits else None


class HubServer:
    """Serves repositories on 127.0.0.1 within a ``with`` block.

    Attributes:
        requests: The requests, as ``GET /path``.
        fault: What it does instead of a response: it closes the connection, serves a login page, responds that it is
            down, or does not respond.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.fault: Literal["broken", "portal", "down", "silent"] | None = None
        self._closing = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._respond(self)

            def do_HEAD(self) -> None:
                hub._respond(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def add_commit(self, name: str, folder: Path, commit: str, *, gated: bool = False) -> None:
        """Add a commit to a repository; it becomes ``main``."""
        self.repositories.setdefault(name, Repository({}, gated)).commits[commit] = folder

    def _respond(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        self.requests.append(f"{request.command} {path}")
        if self.fault:
            return self._fail(request)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name, revision = (api[1], api[3] or "main") if api else (file[1], file[2]) if file else ("", "")
        repository = self.repositories.get(name)
        if repository is None:
            return _send(request, 401, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"})
        if repository.gated and file and "Authorization" not in request.headers:
            return _send(request, 401, {"error": "Access to model is restricted."}, {"X-Error-Code": "GatedRepo"})
        commit = repository.commit(revision)
        if commit is None:
            return _send(request, 404, {"error": "Revision Not Found"}, {"X-Error-Code": "RevisionNotFound"})
        folder = repository.commits[commit]
        names = sorted(str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_file())
        if api and api[2] == "tree":
            return _send(request, 200, [_entry(folder, item) for item in names])
        if api:
            siblings = [{"rfilename": item} for item in names]
            return _send(request, 200, {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": []})
        if file and file[3] in names:
            body = (folder / file[3]).read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()}"'
            return _send(request, 200, body, {"ETag": etag, "X-Repo-Commit": commit})
        return _send(
            request, 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
        )

    def _fail(self, request: BaseHTTPRequestHandler) -> None:
        if self.fault == "portal":
            _send(request, 200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        elif self.fault == "down":
            _send(request, 503, {"error": "down"})
        elif self.fault == "silent":
            self._closing.wait(30)
        request.close_connection = True


def _entry(folder: Path, name: str) -> dict[str, Any]:
    data = (folder / name).read_bytes()
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


def _send(request: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request.send_response(status)
    for key, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
        request.send_header(key, value)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(data)
