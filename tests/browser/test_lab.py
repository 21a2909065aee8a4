"""Notebook 13 in JupyterLab: run from top to bottom, then asked, clicked and asked by keyboard, in its own page."""

import pytest
from playwright.sync_api import expect

from tests.browser.actions import ask, expected_hits, field, hits, see, wait_for_hits
from tests.browser.conftest import SLOW, new_page


@pytest.fixture(scope="module")
def page(browser, lab, seen):
    """The notebook in JupyterLab, its cells run down to the demo."""
    page = new_page(browser, seen)
    page.goto(f"{lab.url}/lab/tree/notebooks/13_retrieval_demo.ipynb?reset&token={lab.token}", timeout=SLOW)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=SLOW)
    page.wait_for_function(
        """() => {
            const panel = window.jupyterapp && window.jupyterapp.shell.currentWidget;
            const kernel = panel && panel.sessionContext && panel.sessionContext.session?.kernel;
            return kernel && kernel.status === "idle";
        }""",
        timeout=SLOW,
        polling=500,
    )
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
    page.locator(".ud-card").first.wait_for(timeout=2 * SLOW)
    page.locator(".ud-root").first.scroll_into_view_if_needed()
    return page


@pytest.fixture(scope="module")
def engine():
    from usercourse.demo import open_engine

    return open_engine("full")


def test_a_query_and_a_click(page, engine):
    ask(page, "a dog in the park")
    wait_for_hits(page, expected_hits(engine, "a dog in the park"))
    page.locator("[aria-label='images found'] button[data-key]").nth(2).click()
    expect(page.locator(".ud-map", has_text="SGE").first).to_be_visible(timeout=SLOW)
    see(page, "of its attention lies on the objects")


def test_the_keyboard_does_not_leave_the_demo_for_the_notebook(page, engine):
    """JupyterLab has commands on bare keys; in the demo's fields and buttons they must not run."""
    cells = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
    field(page).focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("a bus by a bench dd")
    page.keyboard.press("Enter")
    wait_for_hits(page, expected_hits(engine, "a bus by a bench dd"))
    page.locator("[aria-label='images found'] button[data-key]").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.dataset.key") == hits(page)[1]
    page.keyboard.press("Enter")
    expect(page.locator("[aria-label='images found'] button[data-key]").nth(1)).to_have_attribute(
        "aria-pressed", "true", timeout=SLOW
    )
    assert page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length") == cells


def test_nothing_went_wrong_in_the_page(page, seen):
    assert seen.errors == []
    assert seen.outside == []
    assert page.locator(".Toastify__toast").count() == 0  # no question about news
    assert page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0
    assert page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]').count() == 0
