import pytest

from engine.options.decodings import RULES, Decoding, parse_decoding


@pytest.mark.parametrize(
    "text",
    ["mean", "mean+flat", "sharp:0.1", "median:4+flat+steer", "medoid:1+steer", "sample:0.5+flat"],
)
def test_a_decoding_is_written_as_it_is_parsed(text):
    assert str(parse_decoding(text)) == text


@pytest.mark.parametrize("name", RULES)
def test_a_rule_without_a_number_has_its_default(name):
    assert parse_decoding(name) == Decoding(name, RULES[name].default_strength)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "vivid",
            "decoding must be one of mean, sharp, median, medoid, sample, with .* not 'vivid'",
        ),
        ("", "decoding must be one of"),
        ("median:1 +flat", "decoding must be one of"),
        ("median:1+shiny", "has the options flat and steer, each at most once, not 'shiny'"),
        ("median:1+flat+flat", "each at most once, not 'flat'"),
        ("sharp:0.1+steer", "can be steered only with the rules median and medoid, not sharp"),
        ("mean:2", "decoding mean takes no number, not '2'"),
        ("sharp:0", "temperature of the decoding sharp must be more than 0 .* not '0'"),
        ("median:1e9", "gamma of the decoding median must be more than 0 and at most 100"),
        ("sharp:1.2.3", "not '1.2.3'"),
    ],
)
def test_a_wrong_decoding_is_refused_with_its_text(text, message):
    with pytest.raises(ValueError, match=message):
        parse_decoding(text)
