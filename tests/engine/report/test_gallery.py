"""The images of the Gallery page are those of the files and records."""

import io

import numpy as np
import pytest
from PIL import Image

from engine.errors import BadInputError, EngineError
from engine.images.grids import GUTTER_PX
from engine.report import gallery


@pytest.fixture
def runs(trained):
    return trained.store.runs.read_all(1)


@pytest.fixture
def study(trained):
    return trained.store.studies.read(1)


def test_all_pictures_are_ordered_by_the_mean_of_the_runs(trained, runs):
    names, scores = gallery.read_image_order(trained.store, runs, "psnr", best_first=False)
    backwards, _ = gallery.read_image_order(trained.store, runs, "psnr", best_first=True)

    means = [np.mean([scores[run.id][name] for run in runs]) for name in names]
    assert len(names) == 32
    assert means == sorted(means)
    assert backwards == names[::-1]


def test_a_strip_contains_the_given_pictures_in_the_given_order(trained, runs, study):
    names, _ = gallery.read_image_order(trained.store, runs, "mae", best_first=False)
    both = gallery.load_strip(trained.store, trained.settings, study, "target", names[:2])
    second = gallery.load_strip(trained.store, trained.settings, study, "target", names[1:2])
    fakes = gallery.load_strip(trained.store, trained.settings, study, "1", names[:2])

    side = both.shape[1]
    assert both.shape == fakes.shape == (2 * side + GUTTER_PX, side, 3)
    assert (both[side + GUTTER_PX :] == second).all()
    assert (both != fakes).any()


@pytest.mark.parametrize("origin", ["99", "x", ""])
def test_a_strip_of_a_run_without_pictures_is_refused(trained, study, origin):
    with pytest.raises(EngineError, match="no pictures of run"):
        gallery.load_strip(trained.store, trained.settings, study, origin, ["1F600"])


@pytest.mark.parametrize("file_format", ["gif", "webp"])
def test_an_animation_has_a_frame_for_every_epoch(trained, runs, file_format):
    columns = {run.configuration: trained.store.runs.read_samples([run.id]) for run in runs}

    content = gallery.animate(columns, 1, trained.settings, file_format)

    with Image.open(io.BytesIO(content)) as animation:
        assert animation.format == file_format.upper()
        assert animation.n_frames == 3
        assert animation.width > animation.height


def test_one_picture_can_be_cropped_from_a_strip(trained):
    (sample, *_) = trained.store.runs.read_samples([1])
    with Image.open(trained.settings.artifacts / sample.fake) as strip:
        pixels = np.asarray(strip)
    side = pixels.shape[1]

    third = gallery.crop_sample(sample.fake, 2, trained.settings)

    assert (np.asarray(third) == pixels[2 * (side + GUTTER_PX) :][:side]).all()


@pytest.mark.parametrize(
    ("row", "file_format", "sentence"),
    [(8, "gif", "samples 1 to 8, not 9"), (0, "mp4", "gif or webp, not 'mp4'")],
)
def test_an_unknown_row_or_format_of_an_animation_is_refused(trained, row, file_format, sentence):
    columns = {"standard": trained.store.runs.read_samples([1])}

    with pytest.raises(BadInputError, match=sentence):
        gallery.animate(columns, row, trained.settings, file_format)
