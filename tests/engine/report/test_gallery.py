"""Pictures to browse, as their files and records say."""

import io

import numpy as np
import pytest
from PIL import Image

from engine.errors import BadInputError, EngineError
from engine.images.grids import GUTTER
from engine.report import gallery


@pytest.fixture
def runs(trained):
    return trained.store.read_runs(1)


@pytest.fixture
def study(trained):
    return trained.store.read_study(1)


def test_all_pictures_are_ordered_by_the_mean_of_the_runs(trained, runs):
    names, scores = gallery.read_order(trained.store, runs, "psnr", best_first=False)
    backwards, _ = gallery.read_order(trained.store, runs, "psnr", best_first=True)

    means = [np.mean([scores[run.id][name] for run in runs]) for name in names]
    assert len(names) == 32
    assert means == sorted(means)
    assert backwards == names[::-1]


def test_a_strip_holds_the_pictures_that_were_asked_for_in_their_order(trained, runs, study):
    names, _ = gallery.read_order(trained.store, runs, "mae", best_first=False)
    both = gallery.read_strip(trained.store, trained.settings, study, "target", names[:2])
    second = gallery.read_strip(trained.store, trained.settings, study, "target", names[1:2])
    fakes = gallery.read_strip(trained.store, trained.settings, study, "1", names[:2])

    side = both.shape[1]
    assert both.shape == fakes.shape == (2 * side + GUTTER, side, 3)
    assert (both[side + GUTTER :] == second).all()
    assert (both != fakes).any()


@pytest.mark.parametrize("of", ["99", "x", ""])
def test_pictures_of_a_run_that_has_none_are_refused(trained, study, of):
    with pytest.raises(EngineError, match="no pictures of run"):
        gallery.read_strip(trained.store, trained.settings, study, of, ["1F600"])


@pytest.mark.parametrize("file_format", ["gif", "webp"])
def test_an_animation_has_a_frame_for_every_epoch(trained, runs, file_format):
    columns = {run.configuration: trained.store.read_samples([run.id]) for run in runs}

    made = gallery.animate(columns, 1, trained.settings, file_format)

    with Image.open(io.BytesIO(made)) as found:
        assert found.format == file_format.upper()
        assert found.n_frames == 3
        assert found.width > found.height


def test_a_picture_is_cut_out_of_its_strip(trained):
    (sample, *_) = trained.store.read_samples([1])
    with Image.open(trained.settings.artifacts / sample.fake) as strip:
        pixels = np.asarray(strip)
    side = pixels.shape[1]

    third = gallery.cut(sample.fake, 2, trained.settings)

    assert (np.asarray(third) == pixels[2 * (side + GUTTER) :][:side]).all()


@pytest.mark.parametrize(
    ("row", "file_format", "sentence"),
    [(8, "gif", "samples 1 to 8, not 9"), (0, "mp4", "gif or webp, not 'mp4'")],
)
def test_what_cannot_be_animated_is_refused(trained, row, file_format, sentence):
    columns = {"standard": trained.store.read_samples([1])}

    with pytest.raises(BadInputError, match=sentence):
        gallery.animate(columns, row, trained.settings, file_format)
