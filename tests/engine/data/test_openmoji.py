import numpy as np
import pytest

from engine.data.sources.openmoji import OpenMoji

SOURCE = OpenMoji()
FACE, HEART_FLAG, WOMAN_TECHNOLOGIST = "1F600", "1F1EB-1F1F7", "1F469-200D-1F4BB"


def test_skin_tones_and_flags_are_excluded():
    names = SOURCE.names()

    assert len(names) == 2113
    assert not [name for name in names if any(f"1F3F{tone}" in name for tone in "BCDEF")]
    assert HEART_FLAG not in names
    assert not [name for name in names if name.startswith(("1F3F3", "1F3F4"))]


@pytest.mark.parametrize("px", [32, 64, 96])
def test_a_pair_is_rendered_at_the_requested_size(px):
    pair = SOURCE.load_pair(FACE, px).render(px)

    assert pair.shape == (px, px, 4)
    assert pair.dtype == np.uint8


def render_face(px):
    pair = SOURCE.load_pair(FACE, px).render(px).astype(int)
    return pair[..., 0], pair[..., 1:]


def test_the_sketch_is_grey_line_art_and_the_target_has_its_colours():
    sketch, target = render_face(64)

    assert SOURCE.channels == 4
    assert sketch.min() < 40
    assert sketch[0, 0] == 255
    red, green, blue = target[22, 22]
    assert red > 200
    assert green > 200
    assert blue < 120


def test_the_sketch_has_lines_where_the_drawing_is_dark():
    sketch, target = render_face(64)

    dark = sketch < 60
    assert dark.sum() > 50
    assert target[dark].mean() < 80


def test_man_woman_and_person_variants_share_a_group():
    variants = [f"{person}-200D-1F4BB" for person in ("1F468", "1F469", "1F9D1")]

    assert {SOURCE.group(name) for name in variants} == {"1F4BB"}
    assert SOURCE.group("1F469") == "1F469"
    assert SOURCE.group(FACE) == FACE
