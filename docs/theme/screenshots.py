"""Take the pictures of docs/report_tour.md anew, from the demo's run; needs Playwright and a Chromium.

softdet prepare synthetic --out runs/demo/data
softdet train --config configs/tiny.yaml soft_teacher.control=true model.exp_path=runs/demo/both
softdet report runs/demo/both
python docs/theme/screenshots.py runs/demo/both/report.html docs/images
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

MARGIN = 14
# Whatever stays in place while the page moves would cover what is behind it.
STILL = "header, #controls {position: static !important} section {border: 0 !important}"


def picture_of(page: Page, *selectors: str) -> Image.Image:
    """The part of the page that holds some elements, with a margin."""
    # Boxes are as seen from the window, the screenshot's part from the page.
    page.evaluate("window.scrollTo(0, 0)")
    found = [page.locator(selector).first.bounding_box() for selector in selectors]
    boxes = [(b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"]) for b in found if b]
    x1, y1 = (min(box[side] for box in boxes) - MARGIN for side in (0, 1))
    x2, y2 = (max(box[side] for box in boxes) + MARGIN for side in (2, 3))
    png = page.screenshot(full_page=True, clip={"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1})
    return Image.open(io.BytesIO(png)).convert("RGB")


def below(*pictures: Image.Image) -> Image.Image:
    """Put pictures one below the other."""
    whole = Image.new("RGB", (pictures[0].width, sum(picture.height for picture in pictures)))
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole


def main(report: Path, out: Path) -> None:
    """Take all of them."""
    with sync_playwright() as driver:
        path = os.environ.get("SOFTDET_BROWSER") or shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1140, "height": 900}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.add_style_tag(content=STILL)
        drawn = {
            "summary": picture_of(page, "#summary .kicker", "#summary .tiles"),
            "next": picture_of(page, "#next h2", "#next .advice"),
            "training": picture_of(page, "#training figure >> nth=0", "#training figure >> nth=1"),
            "health": picture_of(page, "#training figure.wide"),
            "classes": picture_of(page, "#classes h2", "#classes .scroll"),
            "errors": picture_of(page, "#errors h2", "#errors .plots"),
        }
        for name, picture in drawn.items():
            picture.quantize(128, dither=Image.Dither.NONE).save(out / f"report_{name}.png", optimize=True)
        page.locator("#threshold").fill("0.5")
        rows = "#strip tbody tr:nth-of-type(2)"
        gallery = picture_of(page, "#gallery h2", "#controls", rows)
        photos = {
            "gallery": gallery.crop((0, 0, gallery.width, gallery.height - 2 * MARGIN)),
            "images": below(
                picture_of(page, "#images h3 >> nth=0", "#images .pairs >> nth=0 >> figure >> nth=1"),
                picture_of(page, "#images h3 >> nth=1", "#images .pairs >> nth=1 >> figure >> nth=1"),
            ),
        }
        for name, picture in photos.items():
            picture.save(out / f"report_{name}.webp", quality=82, method=6)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
