import pytest

from engine import annotations
from engine.errors import BadInputError


def test_tags_are_kept_once_without_blanks_around_them():
    assert annotations.check_tags([" paper ", "paper", "", "red hair"]) == ("paper", "red hair")


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        (["x" * 41], "1 to 40 printable"),
        (["a\nb"], "printable"),
        ([str(tag) for tag in range(21)], "20 tags, not 21"),
    ],
)
def test_tags_that_would_not_be_read_are_refused(tags, sentence):
    with pytest.raises(BadInputError, match=sentence):
        annotations.check_tags(tags)


def test_a_note_keeps_its_lines_and_has_an_end():
    assert annotations.check_note(" one\ntwo ") == "one\ntwo"
    with pytest.raises(BadInputError, match="10,000 characters, not 10,001"):
        annotations.check_note("x" * 10_001)


def test_a_name_again_is_still_a_name():
    assert annotations.check_name(annotations.name_again("x" * annotations.MAX_NAME)).endswith(
        annotations.AGAIN
    )
