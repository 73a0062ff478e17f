"""The hub's endpoints that `create_repo` and `upload_folder` call, on loopback, for one user with one token."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from huggingface_hub.repocard import REGEX_YAML_BLOCK
from loopback import HOST
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

LARGE = (".safetensors", ".parquet")  # files that the hub keeps with LFS


@dataclass
class Repository:
    """A repository: its files by path, and the messages of its commits."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """A request as the server got it."""

    method: str
    path: str
    authorization: str | None
    body: bytes


@dataclass
class Hub:
    """A hub on which `owner` may write with `token`.

    repositories: by kind and name, such as ("model", "me/mine"). uses_lfs: whether LARGE files are uploaded apart.
    broken: a status that commits are answered with.
    """

    origin: str
    token: str = "hf_of-the-tests-0123456789abcdef"
    owner: str = "me"
    uses_lfs: bool = False
    broken: int | None = None
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)  # of LFS, by sha256

    def answer(self, request: Request) -> tuple[int, Any]:
        """Status and JSON."""
        if request.method == "PUT":  # to a storage, with an address that is signed
            self.objects[request.path.rpartition("/")[2]] = request.body
            return 200, {}
        if request.authorization != f"Bearer {self.token}":
            # A careless server: it repeats what it was sent.
            return 401, {"error": f"Invalid credentials: {request.authorization}"}
        if request.path == "/api/repos/create":
            return self._create(json.loads(request.body))
        if request.path == "/api/validate-yaml":
            return _validated(json.loads(request.body)["content"])
        if batch := re.fullmatch(r"/(datasets/)?([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", request.path):
            return self._batch(batch[2], json.loads(request.body))
        if match := re.fullmatch(r"/api/(model|dataset)s/([\w.-]+/[\w.-]+)(?:/(\w+)/main)?", request.path):
            repository = self.repositories.get((match[1], match[2]))
            if repository is None:
                return 404, {"error": "Repository not found"}
            return self._in(repository, match, request)
        return 404, {"error": f"the server of the tests does not know {request.path}"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        kind, name = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != self.owner:
            return 403, {
                "error": f"You don't have the rights to create a {kind} under {asked['organization']}"
            }
        url = f"{self.origin}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.repositories:
            return 409, {"error": "You already created this repo", "url": url}
        self.repositories[kind, name] = Repository(asked.get("visibility") == "private")
        return 200, {"url": url}

    def _in(self, repository: Repository, match: re.Match[str], request: Request) -> tuple[int, Any]:
        match match[3]:
            case None:
                about = {"id": match[2], "sha": "0" * 40, "private": repository.private, "siblings": []}
                return 200, about
            case "preupload":
                return 200, {"files": [self._mode(file) for file in json.loads(request.body)["files"]]}
            case "commit" if self.broken:
                return self.broken, {"error": "the hub has a bad day"}
            case "commit":
                return self._commit(repository, match[2], request.body)
            case _:
                return 404, {"error": f"the server of the tests does not know {request.path}"}

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        is_large = self.uses_lfs and file["path"].endswith(LARGE)
        mode = "lfs" if is_large else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _batch(self, name: str, asked: dict[str, Any]) -> tuple[int, Any]:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.origin}/storage/{name}/{each['oid']}"}}}
            for each in asked["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}

    def _commit(self, repository: Repository, name: str, body: bytes) -> tuple[int, Any]:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            match line["key"]:
                case "header":
                    repository.commits.append(value["summary"])
                case "file":
                    repository.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    content = self.objects[value["oid"]]
                    assert hashlib.sha256(content).hexdigest() == value["oid"]
                    repository.files[value["path"]] = content
        return 200, {"commitUrl": f"{self.origin}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40}


def _validated(content: str) -> tuple[int, Any]:
    """Whether the front matter of a card is YAML with a licence, as the hub checks it."""
    block = REGEX_YAML_BLOCK.search(content)
    try:
        data = YAML(typ="safe").load(block[2]) if block else None
    except YAMLError as error:
        data = {"error": str(error)}
    if not isinstance(data, dict) or not isinstance(data.get("license"), str):
        return 400, {"errors": [{"message": f"not valid: {data}"}], "warnings": []}
    return 200, {"errors": [], "warnings": []}


@contextmanager
def serving_hub(**settings: Any) -> Iterator[Hub]:
    """A hub on a free port of loopback, for the block."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(
                self.command, self.path.partition("?")[0], self.headers.get("Authorization"), body
            )
            with lock:
                hub.requests.append(request)
                status, content = hub.answer(request)
            payload = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    hub = Hub(f"http://{HOST}:{server.server_address[1]}", **settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
