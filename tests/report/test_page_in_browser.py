"""The page in a real Chromium, opened from its file as a person would."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(browser_path: str) -> Iterator[Any]:
    with sync_playwright() as driver:
        # The sandbox wants a user other than root, which CI is; the page is our own.
        started = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the page asked for or complained of."""
    return []


@pytest.fixture
def page(browser: Any, report_file: Path, complaints: list[str]) -> Iterator[Page]:
    context = browser.new_context(color_scheme="light", viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(f"console: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    opened.on("request", lambda request: complaints.append(f"request: {request.url[:80]}"))
    opened.goto(report_file.as_uri())
    yield opened
    context.close()


def test_it_opens_from_a_file_without_asking_for_anything_or_complaining(page: Page, complaints: list[str]) -> None:
    assert page.locator("h1").inner_text() == "The unlabeled images brought +5.0 mAP"
    page.locator("#strip svg").first.wait_for()
    asked = [line for line in complaints if not line.startswith(("request: file:", "request: data:"))]
    assert asked == []
    assert sum(line.startswith("request: file:") for line in complaints) == 1


def test_the_slider_changes_the_boxes_and_their_count(page: Page) -> None:
    count = page.locator("#count")
    # 2 images x 2 steps, of whose three boxes two were taught.
    assert (
        count.inner_text() == "8 of 12 boxes taught something; at the last step 2.0 an image; labeled images have 3.2."
    )
    slider = page.locator("#threshold")
    assert slider.input_value() == "0.6"
    slider.fill("0.3")
    assert count.inner_text().startswith("12 of 12 boxes survive at 0.30; at the last step 3.0 an image")
    assert page.locator("#strip .fate.survives").count() == 12
    slider.fill("0.8")
    assert count.inner_text().startswith("4 of 12 boxes survive at 0.80")
    assert page.locator("#strip thead small").all_inner_texts() == ["2 boxes", "2 boxes"]
    page.locator("#as-taught").click()
    assert count.inner_text().startswith("8 of 12 boxes taught something")


def test_teacher_and_student_can_be_told_apart(page: Page) -> None:
    page.get_by_label("the student").check()
    assert page.locator("#count").inner_text().startswith("4 of 4 boxes survive at 0.60")


def test_the_slider_moves_by_arrow_keys_and_every_control_is_reached_by_tab(page: Page) -> None:
    reached = []
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if reached[-1] == "threshold":
            break
    assert reached[0] == "A", "the way past the navigation comes first"
    assert "theme" in reached
    assert reached[-1] == "threshold"
    page.keyboard.press("ArrowRight")
    assert page.locator("#threshold-shown").inner_text() == "0.61"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus can be seen"


def test_a_picture_opens_with_its_scores_and_closes_by_escape(page: Page) -> None:
    page.locator("#strip td button").first.click()
    closer = page.locator("#closer")
    assert closer.is_visible()
    assert "class and place are taught" in closer.inner_text()
    assert "0.020" in closer.inner_text()
    page.keyboard.press("Escape")
    assert not closer.is_visible()


def test_light_and_dark_by_the_system_and_by_the_switch(page: Page) -> None:
    def paper() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert dark != light
    page.locator("#theme").click()
    assert paper() == light, "asked to be light, whatever the system"
    page.locator("#theme").click()
    assert paper() == dark


def test_the_classes_can_be_sorted(page: Page) -> None:
    names = page.locator("table.sortable tbody th")
    before = names.all_inner_texts()
    page.get_by_role("button", name="labeled").click()
    assert names.all_inner_texts() == list(reversed(before))


def test_a_narrow_window_scrolls_down_and_never_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_without_scripts_everything_but_the_gallery_is_there(browser: Any, page: Page) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(page.url)
    assert plain.locator("h1").is_visible()
    assert plain.locator(".plot").count() >= 9
    assert "drawn by a script" in plain.locator("noscript").inner_text()
    context.close()
