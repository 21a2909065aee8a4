"""What a person does in the demo's page, and what they see; every wait is for a condition."""

import numpy as np
from playwright.sync_api import Page

from tests.browser.conftest import SLOW

QUERY = "input[placeholder='what the image should show']"


def field(page: Page):
    return page.locator(QUERY).first


def hits(page: Page) -> list[str]:
    """The ids of the images found, best first."""
    return page.eval_on_selector_all(
        "[aria-label='images found'] button[data-key]", "all => all.map((one) => one.dataset.key)"
    )


def ask(page: Page, text: str) -> None:
    """Type a query and press Enter."""
    field(page).fill(text)
    field(page).press("Enter")


def wait_for_hits(page: Page, expected: list[str]) -> None:
    """Until the images found are these, in this order."""
    page.wait_for_function(
        """(expected) => {
            const all = document.querySelectorAll("[aria-label='images found'] button[data-key]");
            return JSON.stringify([...all].map((one) => one.dataset.key)) === JSON.stringify(expected);
        }""",
        arg=expected,
        timeout=SLOW,
        polling=200,  # ms; by default it asks at each frame, which keeps a machine without a GPU busy
    )


def turn_to(page: Page, panel: str) -> None:
    page.get_by_role("button", name=panel, exact=True).first.click()


def choose_model(page: Page, label: str, title: str) -> None:
    page.locator(".widget-dropdown", has_text=label).locator("select").first.select_option(label=title)


def expected_hits(engine, query, count: int = 12) -> list[str]:
    """What the library finds without a page."""
    if isinstance(query, str):
        return [hit.id for hit in engine.search(query, count).hits]
    return [hit.id for hit in engine.similar(query, count).hits]


def see(page: Page, text: str) -> None:
    page.get_by_text(text, exact=False).filter(visible=True).first.wait_for(timeout=SLOW)


def latencies(page: Page, queries: list[str]) -> np.ndarray:
    """Milliseconds from Enter until other images stand there, decoded, for each query."""
    result = []
    for text in queries:
        field(page).fill(text)
        page.evaluate(
            """() => {
                const root = document.querySelector("[aria-label='images found']").parentElement;
                window.took = null;
                const field = document.querySelector("input[placeholder='what the image should show']");
                field.addEventListener("keydown", () => { window.began = performance.now(); }, {once: true});
                const before = root.dataset.drawn;
                const watch = new MutationObserver(async () => {
                    if (root.dataset.drawn === before) return;
                    watch.disconnect();
                    const images = [...root.querySelectorAll("img")];
                    await Promise.all(images.map((one) => one.decode().catch(() => null)));
                    requestAnimationFrame(() => { window.took = performance.now() - window.began; });
                });
                watch.observe(root, {attributes: true, childList: true, subtree: true});
            }"""
        )
        field(page).press("Enter")
        page.wait_for_function("() => window.took !== null", timeout=SLOW, polling=50)
        result.append(page.evaluate("() => window.took"))
    return np.array(result)
