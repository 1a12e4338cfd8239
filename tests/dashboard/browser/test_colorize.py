"""The Colorize page in a real browser: model server, upload, result and download."""

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.uploads import as_file, drawing, photograph

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

DROP = """(content) => {
  const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0))
  const transfer = new DataTransfer()
  transfer.items.add(new File([bytes], "cat.png", { type: "image/png" }))
  return transfer
}"""


@pytest.fixture
def colorize(pristine, app_settings, dashboard, page):
    """The Colorize page with two trained models."""
    shutil.copytree(pristine / "runs", app_settings.artifacts / "runs")
    shutil.copy(pristine / "runs.db", app_settings.artifacts.parent / "runs.db")
    _, address, _ = dashboard()
    page.goto(f"{address}/colorize")
    return page


def drop(page, content):
    """Drops a file on the page."""
    zone = page.get_by_test_id("stFileUploaderDropzone")
    zone.wait_for()
    transfer = page.evaluate_handle(DROP, base64.b64encode(content).decode())
    zone.dispatch_event("drop", {"dataTransfer": transfer})


def test_a_dropped_picture_is_colorized_and_can_be_downloaded(colorize):
    page = colorize
    page.get_by_role("button", name="Start model server").click()
    expect(page.get_by_text("Starting the model server")).to_be_visible()

    lines = drawing(size=(420, 260))
    drop(page, as_file(lines))
    stage = page.locator(".swipe .stage")
    expect(stage).to_be_visible()
    sizes = "(image) => [image.naturalWidth, image.naturalHeight]"
    assert page.locator(".swipe .after").evaluate(sizes) == [420, 260]

    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    content = Path(download.value.path()).read_bytes()
    coloured = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert download.value.suggested_filename.endswith(".png")
    assert coloured.shape == lines.shape
    assert (coloured[lines.max(axis=-1) < 10] < 40).all()

    edge = "(stage) => stage.style.getPropertyValue('--swipe')"
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 40, steps=4)
    page.mouse.up()
    assert stage.evaluate(edge) == "80%"
    page.get_by_label("Swipe between").press("ArrowLeft")
    assert stage.evaluate(edge) == "79%"

    page.get_by_role("combobox").first.click()
    page.get_by_role("option").last.click()
    page.keyboard.press("Escape")
    expect(page.locator(".swipe .stage")).to_have_count(2)
    drop(page, as_file(photograph()))
    expect(page.get_by_text("its lines were extracted first")).to_have_count(2)
    drop(page, b"this is no picture")
    expect(page.get_by_text("This file is not a picture that can be read")).to_be_visible()

    page.get_by_text("Validation set", exact=True).click()
    expect(page.locator(".swipe .stage")).to_have_count(2)
    expect(page.get_by_text("ground truth")).to_be_visible()
