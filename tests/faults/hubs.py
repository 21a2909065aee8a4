"""A hub that stalls, fails, breaks off or sends other bytes, on this machine."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.data.copies import COUNTS, write_hub
from tests.data.test_hub import SHA, Hub
from tests.faults.harness import Place, fault, must
from userlib.errors import UserError

STALL_S = 3.0
PATIENCE_S = 240.0  # for one call, all tries of the hub's own library included


class BadHub(Hub):
    """A hub whose first answers for files, as many as `server.bad`, are of the kind `server.how`."""

    def do_GET(self) -> None:
        large = "/resolve/" in self.path and self.command == "GET"
        if not large or self.server.bad <= 0:
            return super().do_GET()
        self.server.bad -= 1
        if self.server.how == "stalls":
            time.sleep(STALL_S)
            self.close_connection = True
            return None
        if self.server.how == "returns 500":
            return self.answer(500, b"oops")
        if self.server.how == "truncates":
            self.server.cut = 1
            return super().do_GET()
        self.server.other = True
        return super().do_GET()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        if self.server.other and status == 200 and len(body) > 300:
            self.server.other = False
            changed = bytearray(body)
            changed[200] ^= 1
            body = bytes(changed)
        super().answer(status, body, **headers)


@contextmanager
def hub(how: str, bad: int) -> Iterator[Any]:
    """A bad hub with a small Flickr30K; the hub's library looks there, with a cache of its own and little patience."""
    from huggingface_hub import constants

    with tempfile.TemporaryDirectory() as folder:
        published = write_hub(Path(folder) / "published")
        files = {
            file.relative_to(published).as_posix(): file.read_bytes()
            for file in sorted(published.rglob("*.parquet"))
        }
        server = ThreadingHTTPServer(("127.0.0.1", 0), BadHub)
        server.sets = {f"me/flickr@{name}": (SHA, files) for name in ("main", SHA)}
        server.asked, server.cut, server.how, server.bad, server.other = [], 0, how, bad, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        set_to = {
            "HF_HUB_OFFLINE": False,
            "HF_HUB_CACHE": f"{folder}/hf",
            "HF_HUB_DOWNLOAD_TIMEOUT": 1,
            "HF_HUB_ETAG_TIMEOUT": 1,
        }
        before = {name: getattr(constants, name) for name in set_to}
        environment = dict(os.environ)
        for name in (
            "HF_HUB_OFFLINE",
            "http_proxy",
            "https_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ):
            os.environ.pop(name, None)
        os.environ |= {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
            "USERLIB_CACHE": f"{folder}/cache",
        }
        for name, value in set_to.items():
            setattr(constants, name, value)
        try:
            yield server
        finally:
            for name, value in before.items():
                setattr(constants, name, value)
            os.environ.clear()
            os.environ.update(environment)
            server.shutdown()
            server.server_close()


def bad(how: str, count: int, place: Place) -> str:
    """One sentence within a minute, or the right data; and once the hub is well, the right data."""
    from userlib.data.hub import HubSet, load_hub

    known, words = HubSet(counts=COUNTS, captions_each=5), "loaded all the same"
    with hub(how, count) as server:
        began = time.monotonic()
        try:
            load_hub("me/flickr", known=known)
            must(how != "sends other bytes", "other bytes were taken for the right ones")
        except UserError as error:
            words = str(error)
            must("\n" not in words and ("me/flickr" in words or "parquet" in words), f"it said: {words}")
        must(time.monotonic() - began < PATIENCE_S, f"it took {time.monotonic() - began:.0f} s")
        server.bad = 0
        if how == "sends other bytes":
            must("Delete" in words, f"no remedy in: {words}")
            Path(words.split(" is not the file")[0]).unlink()  # as it says
        data = load_hub("me/flickr", known=known)
        must({name: len(split) for name, split in data.splits.items()} == COUNTS, "then other data came")
    return words[:90]


for how in ("stalls", "returns 500", "truncates", "sends other bytes"):
    fault(f"a hub that {how}", times=2, quick=how == "sends other bytes")(partial(bad, how, 1))
fault("a hub that always returns 500", times=1)(partial(bad, "returns 500", 1000))
fault("a hub that always stalls", times=1)(partial(bad, "stalls", 1000))
