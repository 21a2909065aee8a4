"""Every case runs once at tiny size and gives what its reference gives; clocks are not judged."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from userlab.__main__ import main
from userlab.bench import report, roofline, settings
from userlab.bench.settings import GROUPS, measure, stored
from userlab.bench.timing import clock_of
from userlib.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
SAME = 1e-5


@pytest.fixture(scope="module")
def document():
    return measure(list(GROUPS), runs=2, threads=None, tiny=True, say=False)


def test_every_group_has_rows_and_every_row_a_time(document):
    assert {row["group"] for row in document["rows"]} == set(GROUPS)
    for row in document["rows"]:
        assert "skipped" in row or row["ours"]["ms"] > 0, row["case"]
    assert document["machine"]["flops_fp32"] > 0 and document["provenance"]["hardware"]["cores"]


def test_each_case_equals_its_reference(document):
    compared = {row["case"]: row["differs"] for row in document["rows"] if "differs" in row}
    assert set(compared) == {
        "GPO forward",
        "training step, fp32",
        "images and captions",
        "ranks, Flickr30K 1K",
        "scores, t2i",
        "scores, i2t",
    }
    assert all(difference < SAME for difference in compared.values()), compared


def test_search_counts_recall_by_score(document):
    (row,) = [row for row in document["rows"] if row["group"] == "search"]
    assert row["notes"]["recall_at_10"] > 0.95
    assert row["notes"]["gigabytes_of_1e+09_pictures_e1024"] == pytest.approx(4352)


@pytest.fixture
def here(monkeypatch):
    """Groups measured in this process; that each has one of its own is tested where one is killed."""
    monkeypatch.setattr(
        settings, "_apart", lambda groups, **given: (measure([group], **given) for group in groups)
    )


def test_rows_are_kept_by_group_and_make_a_table(document, here, tmp_path):
    file, page = tmp_path / "results" / "bench.json", tmp_path / "page.md"
    settings._keep(file, document)
    assert main(["bench", "--tiny", "--runs", "2", "--group", "rank", "--out", str(file), "--json"]) == 0
    assert [row["group"] for row in stored(file)["rows"]] == [row["group"] for row in document["rows"]]
    page.write_text(f"before\n{report.START}\nformer table\n{report.END}\nafter\n")
    assert main(["bench", "--markdown", str(page), "--out", str(file)]) == 0
    text = page.read_text()
    assert "former table" not in text and text.startswith("before") and text.endswith("after\n")
    for row in document["rows"]:
        assert f"| {row['case']} |" in text


def test_json_is_one_document(here, capsys):
    assert main(["bench", "--tiny", "--runs", "2", "--group", "rank", "--group", "search", "--json"]) == 0
    assert [row["group"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["rank", "rank", "search"]


def _killed_at_search(groups, **settings_):
    if groups == ["search"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(groups, **settings_)


def test_a_group_that_is_killed_is_named_and_the_rows_before_it_are_kept(tmp_path, monkeypatch, capsys):
    file = tmp_path / "bench.json"
    monkeypatch.setattr(settings, "measure", _killed_at_search)
    groups = ["--group", "rank", "--group", "search", "--group", "import"]
    assert main(["bench", "--tiny", "--runs", "2", *groups, "--out", str(file)]) == 2
    assert "the group search was ended from outside" in capsys.readouterr().err
    assert [row["group"] for row in stored(file)["rows"]] == ["rank", "rank"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_command_that_is_killed_leaves_no_process_behind():
    command = [sys.executable, "-m", "userlab", "bench", "--group", "search", "--runs", "100000", "--tiny"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as whole:
        children = Path(f"/proc/{whole.pid}/task/{whole.pid}/children")
        measuring: list[str] = []
        for _ in range(600):  # a tenth of a second each
            measuring = [pid for pid in children.read_text().split() if _cpu_seconds(pid) > 1]
            if measuring:
                break
            time.sleep(0.1)
        whole.kill()
    assert measuring, "no process began to measure"
    for _ in range(300):
        if not any(Path(f"/proc/{pid}").exists() for pid in measuring):
            return
        time.sleep(0.1)
    for pid in measuring:
        os.kill(int(pid), signal.SIGKILL)
    pytest.fail("it works on")


def _cpu_seconds(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    "key, value", [("threads", 77), ("tiny", False), ("device", "cuda:x"), ("processor", "an abacus")]
)
def test_rows_of_another_kind_are_not_mixed_and_nothing_is_measured_for_them(
    document, tmp_path, monkeypatch, capsys, key, value
):
    file, other = tmp_path / "bench.json", json.loads(json.dumps(document))
    (other["provenance"]["hardware"] if key == "processor" else other)[key] = value
    settings._keep(file, other)
    monkeypatch.setattr(settings, "_apart", lambda *_, **__: pytest.fail("it measured"))
    assert main(["bench", "--tiny", "--group", "rank", "--out", str(file)]) == 2
    assert f"holds rows with {key} {value}, and these would be with {key} " in capsys.readouterr().err
    assert stored(file)["rows"] == document["rows"]


@pytest.mark.parametrize("there", [True, False])
def test_bf16_is_left_out_where_the_chip_has_none(monkeypatch, there):
    """Without units for it a product of the limits takes so long that nothing more is seen of the bench."""
    monkeypatch.setattr(roofline, "has_bf16", lambda: there)
    result = measure(["train"], runs=2, threads=None, tiny=True, say=False, only="bf16")
    (row,) = result["rows"]
    assert (result["machine"]["flops_bf16"] is not None, "skipped" not in row) == (there, there)
    assert ("no bf16" in report.markdown(result)) is not there


def test_several_threads_are_timed_by_the_wall_clock():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert clock_of("cpu") == "cpu" and clock_of("cuda") == "wall"
        torch.set_num_threads(2)
        assert clock_of("cpu") == "wall"
    finally:
        torch.set_num_threads(threads)


def test_what_cannot_be_done_is_said(tmp_path, capsys):
    assert main(["bench", "--runs", "0"]) == 2
    assert main(["bench", "--markdown", str(tmp_path / "x.md"), "--out", str(tmp_path / "none.json")]) == 2
    assert "--runs is 0" in capsys.readouterr().err
    file = tmp_path / "page.md"
    file.write_text("nothing")
    with pytest.raises(UserError, match="no place for the table"):
        report.fill(file, {})


@pytest.mark.parametrize(
    "text, file",
    [
        ("docs/speed.md", "bench.json"),
        ("assets/results/SPEED-ONE-THREAD.md", "bench-one-thread.json"),
        ("assets/results/SPEED-EPYC.md", "bench-epyc.json"),
        ("assets/results/SPEED-XEON.md", "bench-xeon.json"),
    ],
)
def test_the_texts_show_what_is_stored(text, file):
    assert report.markdown(stored(ROOT / "assets/results" / file)) in (ROOT / text).read_text(
        encoding="utf-8"
    )
