"""The gallery in a real browser: epochs, pins, enlarged pictures, links and downloads."""

import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from engine.records.runs import RunState
from tests.dashboard.browser.driver import open_tab, wait_for_url
from tests.support.pages import NAMES, add_study, train
from tests.support.runs import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def study(app):
    """A finished study of three runs; all pixels of epoch n have the value 20 n."""
    study, _ = add_study(app.store, key="gallery")
    for _ in NAMES:
        train(app.store, app.settings, 3, RunState.DONE)
    return study


@pytest.fixture
def gallery(app, page, study):
    """The Gallery page of the study, with its pictures drawn."""
    page.goto(f"{app.address}/gallery?study={study.id}")
    wait_for(lambda: grey_of(page, 2) == 60)
    return page


def grey_of(page, tile):
    """The value of the middle pixel of a tile; None before it is drawn."""
    return page.evaluate(
        """tile => {
          const canvas = document.querySelectorAll(".gallery .tile canvas")[tile]
          if (!canvas || canvas.width < 20) return null
          const middle = canvas.width / 2
          return canvas.getContext("2d").getImageData(middle, middle, 1, 1).data[0]
        }""",
        tile,
    )


def test_the_slider_can_be_moved_by_keyboard_and_the_url_follows(gallery, chromium):
    slider = gallery.get_by_role("slider", name="Epoch")
    slider.focus()
    slider.press("ArrowLeft")

    wait_for(lambda: grey_of(gallery, 2) == 40)
    expect(gallery.get_by_text("Epoch 2 of 3")).to_be_visible()
    expect(gallery.get_by_role("button", name="standard of picture 1, epoch 2")).to_be_visible()
    wait_for_url(gallery, "epoch=2")

    other = open_tab(chromium)
    other.goto(gallery.url)
    wait_for(lambda: grey_of(other, 2) == 40)
    expect(other.get_by_text("Epoch 2 of 3")).to_be_visible()


def test_moving_the_slider_downloads_each_strip_only_once(gallery):
    urls = []
    gallery.on(
        "request",
        lambda request: urls.append(request.url) if "/sample/" in request.url else None,
    )
    slider = gallery.get_by_role("slider", name="Epoch")
    slider.focus()

    moves = {"ArrowLeft": -20, "ArrowRight": 20}
    grey = 60
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowRight", "ArrowLeft"):
        slider.press(key)
        grey += moves[key]
        wait_for(lambda grey=grey: grey_of(gallery, 2) == grey)

    assert len(urls) == len(set(urls))


def test_a_pinned_picture_stays_at_the_top_and_in_the_url(gallery, chromium):
    gallery.get_by_role("button", name="Pin to top: picture 5").click()

    heads = gallery.locator(".gallery .row-head span")
    expect(heads.first).to_have_text("picture 5")
    wait_for_url(gallery, "pinned=4")
    other = open_tab(chromium)
    other.goto(gallery.url)
    expect(other.locator(".gallery .row-head span").first).to_have_text("picture 5")


def test_the_difference_to_the_target_is_black_where_both_are_equal(gallery):
    gallery.get_by_role("button", name="Difference").click()

    wait_for(lambda: grey_of(gallery, 2) == 0)
    assert grey_of(gallery, 1) == 60  # the target itself is unchanged
    wait_for_url(gallery, "look=difference")


def test_an_enlarged_picture_can_be_swiped_and_turned(gallery):
    gallery.get_by_role("button", name="perceptual of picture 2, epoch 3").click()
    dialog = gallery.get_by_role("dialog")
    expect(dialog.get_by_text("picture 2, epoch 3")).to_be_visible()
    expect(dialog.get_by_label("Left picture")).to_have_value("target")

    gallery.keyboard.press("ArrowRight")
    expect(dialog.get_by_text("picture 3, epoch 3")).to_be_visible()
    gallery.keyboard.press("ArrowDown")
    expect(dialog.get_by_text("picture 3, epoch 2")).to_be_visible()
    swipe = dialog.get_by_role("slider", name="Swipe between the two pictures")
    swipe.focus()
    swipe.press("End")
    clip = "() => getComputedStyle(document.querySelector('.gallery .over')).clipPath"
    assert gallery.evaluate(clip) in ("inset(0px)", "inset(0px 0% 0px 0px)")
    gallery.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()


def test_a_picture_of_all_epochs_can_be_downloaded_as_an_animation(gallery, study):
    gallery.get_by_role("button", name="standard of picture 1, epoch 3").click()

    with gallery.expect_download() as download:
        gallery.get_by_role("link", name="Download WEBP").click()

    animation = Image.open(io.BytesIO(download.value.path().read_bytes()))
    assert (animation.format, animation.n_frames) == ("WEBP", 3)
    assert download.value.suggested_filename == f"study-{study.id}-picture-1.webp"
