import copy
from dataclasses import replace

import pytest
import torch

from engine.data.batches import training_batches
from engine.networks.palette_generator import SourceInputs, find_reader
from engine.training import preparation
from engine.training.loop import WarningEvent, train
from engine.training.state import build_state
from tests.support.runs import tiny_config
from tests.support.training import maps

CPU = torch.device("cpu")


def test_the_palette_of_a_split_has_its_most_frequent_fill_first(few_pairs):
    colours = preparation.find_palette(few_pairs, 8)

    assert colours.shape == (8, 3)
    assert colours[0].tolist() == [255, 255, 255], "paper"


def test_generator_and_average_are_fitted_before_the_first_step_only(few_pairs):
    state = build_state(tiny_config("vivid"), CPU)

    preparation.prepare_generator(state, few_pairs)

    fitted = copy.deepcopy(state.generator.state_dict())
    assert all(map(torch.equal, fitted.values(), state.averaged.state_dict().values()))
    assert state.generator.palette.any()
    assert find_reader(state.generator).code_components.any()
    figures = find_reader(state.generator).geometry_scale
    assert not torch.equal(figures.mean, torch.zeros_like(figures.mean))

    state.step = 1
    preparation.prepare_generator(state, replace(few_pairs, pixels=few_pairs.pixels.flip(-1)))
    assert all(map(torch.equal, fitted.values(), state.generator.state_dict().values()))


def test_a_generator_without_a_palette_is_left_as_it_is(few_pairs):
    state = build_state(tiny_config("standard"), CPU)
    before = copy.deepcopy(state.generator.state_dict())

    preparation.prepare_generator(state, few_pairs)

    assert all(map(torch.equal, before.values(), state.generator.state_dict().values()))


def test_stored_labels_give_the_inputs_that_the_generator_computes_itself(few_pairs):
    state = build_state(tiny_config("vivid"), CPU)
    labels = preparation.region_labels.label_regions(
        few_pairs.sources.permute(0, 3, 1, 2) / 127.5 - 1
    )
    labelled = replace(few_pairs, labels=labels.to(torch.uint8))
    batch = next(training_batches(labelled, 4, 0, 0, 1))
    source, _ = preparation.make_images(batch)
    is_mirrored = batch.augmentations[:, 1] == 1

    inputs = preparation.build_source_inputs(state, labelled)(batch, source)

    assert isinstance(inputs, SourceInputs)
    expected = state.generator.read_inputs(source)
    assert torch.equal(inputs.labels[~is_mirrored], expected.labels[~is_mirrored])
    for actual, wanted in zip(inputs.frozen, expected.frozen, strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("name", ["vivid", "standard"])
def test_targets_that_are_lighter_than_their_lines_give_a_warning_once(
    name, few_pairs, few_val_pairs
):
    lighter = few_pairs.pixels.clone()
    lighter[..., :-3] = 100  # a grey sketch below white targets
    pairs = replace(few_pairs, pixels=lighter)
    config = tiny_config(name)

    events = list(train(config, build_state(config, CPU), pairs, few_val_pairs, maps))

    warnings = [event.text for event in events if isinstance(event, WarningEvent)]
    assert len(warnings) == (name == "vivid")
    assert all("are lighter than the line art" in text for text in warnings)


def test_line_art_that_lies_on_its_targets_gives_no_warning(few_pairs):
    state = build_state(tiny_config("vivid"), CPU)

    assert preparation.find_ink_warning(state, few_pairs) is None
