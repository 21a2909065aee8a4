"""The site builds without a warning and notices a broken link; the Space's folder holds what its Dockerfile names, and
its command serves the demo's page.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from hosted import badges, site, space

ROOT = Path(__file__).resolve().parent.parent


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    assert site.main(["--out", str(tmp_path / "site")]) == 0
    for page in ("index.html", "docs/ecosystem/index.html", "notebooks/GLOSSARY/index.html"):
        assert (tmp_path / "site" / page).is_file()
    for html in (tmp_path / "site").rglob("*.html"):
        text = html.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', text)
        assert fetched == [], f"{html} would fetch {fetched}"


def test_a_link_that_leads_nowhere_stops_the_site(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mkdocs")
    (tmp_path / "README.md").write_text("# A\n\n[gone](docs/gone.md) [there](docs/b.md#c)\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("# B\n\n## C\n")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    assert site.main(["--out", str(tmp_path / "site")]) == 1
    (tmp_path / "README.md").write_text("# A\n\n[there](docs/b.md#c)\n")
    assert site.main(["--out", str(tmp_path / "site")]) == 0
    (tmp_path / "README.md").write_text("# A\n\n[there](docs/b.md#d)\n")
    assert site.main(["--out", str(tmp_path / "site")]) == 1


def test_the_folder_of_the_space_holds_what_is_copied(tmp_path, capsys):
    assert space.main(["--out", str(tmp_path / "space")]) == 0
    for name in (*space.copied(), "README.md", "Dockerfile"):
        assert (tmp_path / "space" / name).exists(), name
    head = (tmp_path / "space" / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    about = yaml.safe_load(head)
    assert about["sdk"] == "docker" and len(about["short_description"]) <= 60
    assert f"EXPOSE {about['app_port']}" in (ROOT / "hosted" / "Dockerfile").read_text(encoding="utf-8")
    assert space.main(["--out", str(tmp_path / "space")]) == 2


def command() -> list[str]:
    """What the container runs."""
    text = (ROOT / "hosted" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    return json.loads(re.search(r"^CMD (\[.+\])$", text, re.M)[1])


def test_the_command_of_the_container_serves_the_page(tmp_path):
    """Up to the first bytes of the page, which Voila sends before the notebook has run."""
    pytest.importorskip("voila")
    assert space.main(["--out", str(tmp_path / "space")]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [word.replace("7860", str(port)).replace("0.0.0.0", "127.0.0.1") for word in command()]
    here = tmp_path / "space"
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here / 'notebooks'}"}
    server = subprocess.Popen([sys.executable, *words[1:]], cwd=here, env=environment, stderr=subprocess.PIPE)
    try:
        for _ in range(300):
            if server.poll() is not None:
                pytest.fail(server.stderr.read().decode()[-2000:])
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
                    assert page.status == 200 and b"<html" in page.read(4096).lower()
                return
            except OSError:
                time.sleep(0.5)
        pytest.fail("the server did not answer")
    finally:
        server.terminate()
        server.wait(30)


def test_badges_lead_to_every_notebook(capsys):
    assert badges.main(["me/course"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert (
        "https://colab.research.google.com/github/me/course/blob/main/notebooks/00_start_here.ipynb"
        in lines[0]
    )
    assert "mybinder.org/v2/gh/me/course/main?labpath=notebooks%2F00_start_here.ipynb" in lines[0]
    assert badges.main(["https://elsewhere/me"]) == 2


def test_binder_installs_extras_that_there_are():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (line,) = (ROOT / ".binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert set(re.fullmatch(r"-e \.\[([a-z,]+)\]", line)[1].split(",")) <= set(
        project["optional-dependencies"]
    )
