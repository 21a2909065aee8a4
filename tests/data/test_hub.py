"""Data sets on the hub, from a small hub on this machine: fetched once, resumed, and every fault a
sentence.
"""

import hashlib
import json
import os
import re
import socket
import threading
import time
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from tests.data.copies import COUNTS, all_rows, hub_rows, write_hub, write_rows
from userlib.data.extractors import make_extractor
from userlib.data.hub import FLICKR30K, HUB_SETS, HubSet, load_hub
from userlib.data.network import hub_access, hub_answers
from userlib.data.sources import load_data
from userlib.data.tokenizers import BertTokenizer
from userlib.errors import UserError

SHA = "a" * 40


def lfs(data):
    """What the hub says of a large file."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a download of files needs. `server.sets` maps name@revision to
    (commit, files).
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *parts):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/(revision|tree)/(.+)", path):
            name, kind, revision = match.groups()
            if not any(known.startswith(f"{name}@") for known in self.server.sets):
                return self.answer(404, b"{}", X_Error_Code="RepoNotFound")
            if (held := self.server.sets.get(f"{name}@{revision}")) is None:
                return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
            sha, files = held
            if kind == "tree":
                tree = [
                    {"type": "file", "path": f, "size": len(d), "oid": "0" * 40} for f, d in files.items()
                ]
                return self.answer(200, json.dumps(tree).encode())
            siblings = [{"rfilename": f, "size": len(d), "lfs": lfs(d)} for f, d in files.items()]
            about = {"id": name, "sha": sha, "siblings": siblings, "private": False}
            return self.answer(200, json.dumps(about).encode())
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path):
            name, sha, file = match.groups()
            data = next(
                (f[file] for n, (s, f) in self.server.sets.items() if n.startswith(f"{name}@") and s == sha),
                None,
            )
            if data is None:
                return self.answer(404, b"{}", X_Error_Code="EntryNotFound")
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            first = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
            if self.command == "GET" and self.server.cut > 0 and len(data) > 1500:
                self.server.cut -= 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("ETag", etag)
                self.end_headers()
                self.wfile.write(data[:1000])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return None
            status = 206 if first else 200
            ranges = {"Content_Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
            return self.answer(
                status, data[first:], ETag=etag, X_Repo_Commit=sha, Accept_Ranges="bytes", **ranges
            )
        return self.answer(404, b"{}")


@pytest.fixture
def server(monkeypatch, tmp_path, cache):
    """The small hub, empty, and the hub's library looking there with a cache of its own."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.sets, server.asked, server.cut = {}, [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def flickr(tmp_path):
    """The files of a small Flickr30K, by name."""
    folder = write_hub(tmp_path / "published")
    return {
        str(file.relative_to(folder).as_posix()): file.read_bytes()
        for file in sorted(folder.rglob("*.parquet"))
    }


SMALL = HubSet(counts=COUNTS, captions_each=5)


def test_fetched_once_and_read_like_a_folder(server, flickr, tmp_path, capsys, monkeypatch):
    server.sets["me/flickr@main"] = server.sets[f"me/flickr@{SHA}"] = (SHA, flickr | {"README.md": b"terms"})
    monkeypatch.setitem(
        HUB_SETS, "me/flickr", HubSet(counts=COUNTS, captions_each=5, terms="For research only.")
    )
    data = load_data("me/flickr")
    local = load_data(str(tmp_path / "published"))
    for name in COUNTS:
        assert data.split(name).captions == local.split(name).captions
        assert data.split(name).pictures[1].size == (48, 36)
    told = capsys.readouterr().err
    assert "For research only." in told
    assert "Downloading me/flickr" in told
    assert not any("README" in line for line in server.asked)
    server.asked.clear()
    assert load_data("me/flickr").fingerprint == data.fingerprint
    assert server.asked == []


def test_a_moved_branch_does_not_change_what_is_loaded(server, flickr, tmp_path, cache):
    server.sets["me/flickr@main"] = server.sets[f"me/flickr@{SHA}"] = (SHA, flickr)
    first = load_hub("me/flickr", known=SMALL)
    server.sets["me/flickr@main"] = server.sets["me/flickr@" + "b" * 40] = ("b" * 40, {})
    for file in (tmp_path / "hf").rglob("*.parquet"):
        file.unlink()
    again = load_hub("me/flickr", known=SMALL)
    assert again.fingerprint == first.fingerprint
    for file in (tmp_path / "hf").rglob("*.parquet"):
        file.unlink()
    del server.sets[f"me/flickr@{SHA}"]
    with pytest.raises(UserError, match="no longer has the commit aaaaaaaaaaaa.*Delete"):
        load_hub("me/flickr", known=SMALL)


def test_an_interrupted_download_goes_on(server, flickr, monkeypatch):
    from huggingface_hub import constants

    server.sets["me/flickr@main"] = server.sets[f"me/flickr@{SHA}"] = (SHA, flickr)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    server.cut = 1
    try:
        data = load_hub("me/flickr", known=SMALL)
    except UserError as error:
        assert "me/flickr" in str(error)  # noqa: PT017 - the library may or may not resume by itself
        data = load_hub("me/flickr", known=SMALL)
    assert server.cut == 0
    assert {name: len(split) for name, split in data.splits.items()} == COUNTS


def test_the_second_name_stands_in_for_the_first(server, tmp_path, monkeypatch, capsys):
    file = write_rows(tmp_path / "0000.parquet", all_rows())
    server.sets["b/two@refs/convert/parquet"] = (SHA, {"TEST/test/0000.parquet": file.read_bytes()})
    server.sets[f"b/two@{SHA}"] = server.sets["b/two@refs/convert/parquet"]
    monkeypatch.setitem(HUB_SETS, "a/one", HubSet(counts=COUNTS, captions_each=5, fallback="b/two"))
    monkeypatch.setitem(
        HUB_SETS, "b/two", HubSet(revision="refs/convert/parquet", counts=COUNTS, captions_each=5)
    )
    data = load_data("a/one")
    assert data.name == "b/two"
    assert {name: len(split) for name, split in data.splits.items()} == COUNTS
    assert "The hub has no data set 'a/one'" in capsys.readouterr().err


def test_the_two_names_of_flickr30k_are_held_to_its_counts():
    first, second = HUB_SETS["umaru97/flickr30k_train_val_test"], HUB_SETS["nlphuji/flickr30k"]
    assert first.fallback == "nlphuji/flickr30k"
    assert second.revision == "refs/convert/parquet"
    assert second.fallback is None
    for known in (first, second):
        assert known.counts == {"train": 29_000, "val": 1_014, "test": 1_000} == FLICKR30K["counts"]
        assert known.captions_each == 5
        assert "Flickr" in known.terms


@pytest.mark.parametrize(
    "fault, message",
    [
        (
            lambda f, w: {k: v for k, v in f.items() if "val" not in k},
            "should have .*val 3.*but these were found",
        ),
        (
            lambda f, w: f | {"data/val-00000-of-00001.parquet": w(hub_rows("val", 2, first=6))},
            "found: .*val 2",
        ),
        (
            lambda f, w: f | {"data/val-00000-of-00001.parquet": w(hub_rows("val", 3, first=6, each=4))},
            "has 4 captions",
        ),
        (lambda f, w: {k: v[:-30] for k, v in f.items()}, "cut short"),
        (lambda f, w: {"README.md": b"moved"}, "no Parquet files at revision 'main'"),
    ],
    ids=["missing file", "missing rows", "four captions", "truncated", "no Parquet"],
)
def test_faults_in_what_the_hub_sends_are_named(server, flickr, tmp_path, fault, message):
    def written(rows):
        return write_rows(tmp_path / "fault.parquet", rows).read_bytes()

    server.sets["me/flickr@main"] = server.sets[f"me/flickr@{SHA}"] = (SHA, fault(flickr, written))
    with pytest.raises(UserError, match=message):
        load_hub("me/flickr", known=SMALL)


def test_other_bytes_than_the_published_ones_are_refused(server, flickr, monkeypatch):
    server.sets["me/flickr@main"] = server.sets[f"me/flickr@{SHA}"] = (SHA, flickr)
    with monkeypatch.context() as other:
        other.setitem(
            globals(), "lfs", lambda data: {"sha256": "0" * 64, "size": len(data), "pointerSize": 130}
        )
        with pytest.raises(UserError, match="is not the file .*parquet that me/flickr has.*Delete it"):
            load_hub("me/flickr", known=SMALL)


def test_wrong_names_and_revisions_are_named(server, flickr):
    server.sets["me/flickr@main"] = (SHA, flickr)
    with pytest.raises(UserError, match="no data set 'me/flicker'"):
        load_hub("me/flicker")
    with pytest.raises(UserError, match="no revision 'v2' of the data set 'me/flickr'"):
        load_hub("me/flickr", known=HubSet(revision="v2"))


@pytest.mark.parametrize(
    ("layout", "folders"),
    [
        ("{}/train-00000-of-00001.parquet", "large, small"),
        ("data/{}/train-00000-of-00001.parquet", "data/large, data/small"),
        ("{}/train/0000.parquet", "large, small"),
        ("{}/partial-train/0000.parquet", "large, small"),
    ],
)
def test_configurations_are_not_joined(server, flickr, tmp_path, layout, folders):
    train = flickr["data/train-00000-of-00001.parquet"]
    files = {layout.format(part): train for part in ("large", "small")}
    server.sets["me/flickr@main"] = server.sets[f"me/flickr@{SHA}"] = (SHA, files)
    said = f"'train' in each of the folders {folders}, .*--include \".*small/"
    with pytest.raises(UserError, match=said) as caught:
        load_data("me/flickr")
    assert not any("resolve" in line for line in server.asked)
    pattern = re.search('--include "(.*?)"', str(caught.value))[1]
    for file in files:  # as the command in the message does
        if fnmatch(file, pattern):
            (tmp_path / "one" / file).parent.mkdir(parents=True)
            (tmp_path / "one" / file).write_bytes(train)
    assert len(load_data(str(tmp_path / "one")).split("train")) == COUNTS["train"]


def test_a_part_of_a_large_split_is_read_and_told(server, tmp_path, capsys):
    bare = write_hub(tmp_path / "bare", split_column=False) / "data"
    parts = {"train": "partial-train", "val": "val", "test": "test"}
    files = {
        f"default/{part}/0000.parquet": (bare / f"{name}-00000-of-00001.parquet").read_bytes()
        for name, part in parts.items()
    }
    server.sets["me/flickr@main"] = server.sets[f"me/flickr@{SHA}"] = (SHA, files)
    assert {name: len(split) for name, split in load_data("me/flickr").splits.items()} == COUNTS
    assert "me/flickr is cut short, as the hub's conversions" in capsys.readouterr().err


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("way", ["closed port", "closed proxy", "offline"])
def test_an_unreachable_hub_is_told_at_once(server, way, monkeypatch, tmp_path, cache):
    if way == "closed port":
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    elif way == "closed proxy":
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)  # a library that tries again waits in between
    assert not hub_answers()
    for call in (
        lambda: load_hub("me/flickr"),
        lambda: BertTokenizer("bert-base-uncased").encode("a"),
        lambda: make_extractor("timm:test_vit.r160_in1k").load(),
    ):
        with pytest.raises(UserError, match="Cannot fetch|no vocabulary.*network") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert sum(slept) < 10  # seconds
    assert not list((cache / "hub").iterdir()) if (cache / "hub").exists() else True


def test_the_librarys_switch_is_put_back(server, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    with hub_access("something"):
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is False


def test_a_full_disk_while_downloading_is_a_sentence(server, flickr, monkeypatch):
    import errno

    import huggingface_hub

    server.sets["me/flickr@main"] = server.sets[f"me/flickr@{SHA}"] = (SHA, flickr)
    real = huggingface_hub.snapshot_download

    def full(*names, local_files_only, **options):
        if local_files_only:
            return real(*names, local_files_only=True, **options)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(UserError, match="No space left"):
        load_hub("me/flickr", known=SMALL)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", real)
    assert len(load_hub("me/flickr", known=SMALL).splits) == 3


def test_a_socks_proxy_without_its_package_stops_nothing_that_is_there(monkeypatch, cache):
    """The hub's library would fail on it before it looks into its cache; where it is needed, its package is named."""
    monkeypatch.setattr("userlib.data.network.importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    with hub_access("something"):
        assert "ALL_PROXY" not in os.environ and "HTTPS_PROXY" in os.environ
    assert os.environ["ALL_PROXY"] == "socks5://127.0.0.1:9"
    with pytest.raises(UserError, match=r"ALL_PROXY names a SOCKS proxy.*pip install 'httpx\[socks\]'"):
        load_hub("me/flickr")
    monkeypatch.setattr("userlib.data.network.importlib.util.find_spec", lambda name: "there")
    with hub_access("something"):
        assert "ALL_PROXY" in os.environ
