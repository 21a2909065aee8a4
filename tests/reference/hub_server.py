"""As much of the hub's interface as pushing and fetching a model needs, on this machine: repositories are created,
small files come within the commit, large ones by Git LFS, and every commit can be fetched by its name or branch.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import yaml

LARGE = (".safetensors", ".onnx")


class ModelHub(BaseHTTPRequestHandler):
    """`server.repos` maps owner/name to its commits, [(sha, branch, files)], the newest last; `server.blobs` holds
    large files by their SHA-256. `server.asked` lists the requests.
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *parts):
        pass

    def answer(self, status, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content_Type": "application/json", **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def start(self):
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append(f"{self.command} {path}")
        return path, self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def commit(self, repo, revision):
        """(sha, files) of a branch or commit, else None."""
        held = [c for c in self.server.repos[repo] if revision in c[:2]]
        return (held[-1][0], held[-1][2]) if held else None

    def do_POST(self):
        path, body = self.start()
        if path == "/api/validate-yaml":
            head = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.S)
            fields = yaml.safe_load(head[1])
            return self.answer(
                200, {"errors": [], "warnings": [] if isinstance(fields, dict) else ["no header"]}
            )
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.server.refused:
                return self.answer(403, {"error": "you may not write there"})
            self.server.repos.setdefault(name, [("0" * 40, "main", {})])
            return self.answer(200, {"url": f"{self.server.address}/{name}", "name": name})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/.+", path):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            repo, branch = match.groups()
            files = dict(self.commit(repo, branch)[1] if self.commit(repo, branch) else {})
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                if line["key"] == "lfsFile":
                    files[value["path"]] = self.server.blobs[value["oid"]]
            sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
            self.server.repos[repo].append((sha, branch, files))
            return self.answer(
                200, {"commitUrl": f"{self.server.address}/{repo}/commit/{sha}", "commitOid": sha}
            )
        return self.answer(404, {})

    def do_PUT(self):
        path, body = self.start()
        oid = path.removeprefix("/lfs/")
        if hashlib.sha256(body).hexdigest() != oid:
            return self.answer(400, {})
        self.server.blobs[oid] = body
        return self.answer(200, {})

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path, _ = self.start()
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path) or re.fullmatch(
            r"/([^/]+/[^/]+)/(resolve)/([^/]+)/(.+)", path
        )
        repo, kind, revision, *file = match.groups() if match else (None, None, None)
        if repo not in self.server.repos:
            return self.answer(404, {}, X_Error_Code="RepoNotFound")
        held = self.commit(repo, revision or "main")
        if held is None:
            return self.answer(404, {}, X_Error_Code="RevisionNotFound")
        sha, files = held
        if kind == "tree":
            return self.answer(
                200, [{"type": "file", "path": f, "size": len(d), "oid": "0" * 40} for f, d in files.items()]
            )
        if kind != "resolve":
            return self.answer(200, {"id": repo, "sha": sha, "siblings": [{"rfilename": f} for f in files]})
        if file[0] not in files:
            return self.answer(404, {}, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        data = files[file[0]]
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        return self.answer(200, data, ETag=etag, X_Repo_Commit=sha, Content_Type="application/octet-stream")


@contextmanager
def model_hub(monkeypatch, folder):
    """A running hub; the hub's library looks there with a token and a cache of its own, in `folder`."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), ModelHub)
    server.repos, server.blobs, server.asked, server.refused = {}, {}, [], set()
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_tests")
    for name, value in {
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(folder / "hf"),
        "ENDPOINT": server.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.address + "/{repo_id}/resolve/{revision}/{filename}",
    }.items():
        monkeypatch.setattr(constants, name, value)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
