"""The whole course in JupyterLab, as a student runs it: every cell of every notebook, watched and photographed.

    USERLIB_SHOTS=shots python -m pytest -m soak tests/browser/test_course.py -s

Each notebook runs from top to bottom in the fast profile. Nothing may fail, nothing may be written to stderr, and a
busy cell must show something new at least every few seconds; the longest silence is printed with its cell. With
USERLIB_SHOTS the pages are kept as images, in the light and in the dark theme, to be looked at.
"""

import os
import time
from pathlib import Path

import pytest

from tests.browser.conftest import ROOT, SLOW, new_page

pytestmark = pytest.mark.soak
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
LIMIT_S = 900
SILENCE_S = float(
    os.environ.get("USERLIB_SILENCE", "6")
)  # two seconds, and what polling and a busy machine add
STATE = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    const kernel = panel?.sessionContext?.session?.kernel;
    const cells = panel?.content?.widgets ?? [];
    const texts = cells.map((cell) => (cell.outputArea?.node.textContent ?? "") +
        (cell.outputArea?.node.querySelectorAll("img").length ?? 0));
    return {
        status: kernel?.status ?? "none",
        busy: cells.map((cell) => cell.promptNode?.textContent ?? "").findIndex((text) => text.includes("[*]")),
        text: texts.join("|"),
        pixels: [...document.querySelectorAll(".jp-OutputArea-output img, progress, .progress-bar")]
            .map((one) => (one.getAttribute("src") ?? "").length + (one.style?.width ?? "") + (one.value ?? "")).join(),
    };
}"""
FAULTS = """() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.flatMap((cell, i) =>
    (cell.toJSON().outputs ?? []).filter((one) => one.output_type === "error" || one.name === "stderr")
        .map((one) => `cell ${i}: ${one.ename ?? ""} ${one.evalue ?? one.text}`))"""


def run_all(page) -> tuple[float, int]:
    """Runs the notebook -> the longest silence in seconds, and the cell that was busy then."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
    began = changed = time.monotonic()
    before, worst, calm = None, (0.0, -1), 0
    while calm < 4:
        assert time.monotonic() - began < LIMIT_S, "the notebook does not end"
        page.wait_for_timeout(250)
        now = page.evaluate(STATE)
        calm = calm + 1 if now["busy"] < 0 and now["status"] == "idle" else 0
        if now != before or calm:
            before, changed = now, time.monotonic()
        worst = max(worst, (time.monotonic() - changed, now["busy"]))
    return worst


def photograph(page, name: str) -> None:
    """The page from top to bottom in both themes, where USERLIB_SHOTS names a folder."""
    folder = os.environ.get("USERLIB_SHOTS")
    if folder is None:
        return
    for theme, words in (("light", "JupyterLab Light"), ("dark", "JupyterLab Dark")):
        page.evaluate(
            "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", words
        )
        page.wait_for_timeout(1_500)
        scroll = """(y) => {
            const one = document.querySelector('.jp-WindowedPanel-outer');
            one.scrollTop = y;
            return one.scrollHeight;
        }"""
        high, y, number = page.evaluate(scroll, 0), 0, 0
        while y < high:
            high = page.evaluate(scroll, y)
            page.wait_for_timeout(400)
            page.screenshot(path=Path(folder) / f"{name}-{theme}-{number:02d}.png")
            y, number = y + 850, number + 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_in_the_browser(browser, course_lab, seen, name):
    page = new_page(browser, seen)
    page.goto(
        f"{course_lab.url}/lab/tree/notebooks/{name}.ipynb?reset&token={course_lab.token}", timeout=SLOW
    )
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=SLOW)
    ready = f"() => ({STATE})().status === 'idle'"
    page.wait_for_function(ready, timeout=SLOW, polling=500)
    silence, cell = run_all(page)
    print(f"{name}: longest silence {silence:.1f} s, cell {cell}")
    photograph(page, name)
    assert page.evaluate(FAULTS) == []
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
    assert seen.errors == []
    assert seen.outside == []
    assert silence <= SILENCE_S, f"cell {cell} showed nothing new for {silence:.1f} s"
