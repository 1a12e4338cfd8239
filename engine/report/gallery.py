"""Loads evaluated images for the Gallery page, and animates samples through the epochs.

Torch-free. The module `cases` chooses a few images for tables and reports.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine.config import REPORTED_SPLIT
from engine.errors import BadInputError, EngineError
from engine.images.grids import BACKGROUND, GUTTER_PX, MUTED_RGB, TEXT_RGB, ImageArray, tile
from engine.records.runs import Run, Sample, Study
from engine.report.cases import (
    CaseKind,
    load_fakes,
    load_pairs,
    rank_images,
    read_chosen_predictions,
)
from engine.settings import Settings
from engine.store import Store

# Limits of an animation.
MAX_FRAMES, MAX_COLUMNS, MAX_SIDE_PX = 60, 12, 256
FRAME_MS, LAST_FRAME_MS = 350, 1500
HEADER_PX = 24  # height of the names above the images of an animation


def runs_with_images(store: Store, runs: Sequence[Run]) -> list[Run]:
    """Returns the runs with saved fakes of their chosen checkpoint."""
    predictions = read_chosen_predictions(store, runs)
    return [run for run in runs if run.id in predictions]


def read_image_order(
    store: Store, runs: Sequence[Run], metric: str, best_first: bool
) -> tuple[tuple[str, ...], dict[int, dict[str, float | None]]]:
    """Orders all evaluated images by the mean score of some runs.

    Args:
        store: the store with the scores.
        runs: the runs whose scores decide, each with its chosen checkpoint.
        metric: one of `catalog.PER_IMAGE_METRICS`.
        best_first: whether the best images come first, instead of the worst.

    Returns:
        The names in order, and run id -> name -> score.
    """
    epochs = {run.id: run.best_epoch for run in runs}
    scores: dict[int, dict[str, float | None]] = {run.id: {} for run in runs}
    for score in store.evaluations.read_scores(list(epochs), REPORTED_SPLIT, [metric]):
        if score.epoch == epochs[score.run_id]:
            scores[score.run_id][score.picture] = score.value
    kind: CaseKind = "best" if best_first else "worst"
    table = {str(run_id): by_name for run_id, by_name in scores.items()}
    return rank_images(table, metric, kind, None), scores


def load_strip(
    store: Store, settings: Settings, study: Study, origin: str, names: Sequence[str]
) -> ImageArray:
    """Loads images of the evaluated split into one column, with the spacing of `grids.tile`.

    Args:
        store: the store with the records of saved fakes.
        settings: the locations of the images.
        study: the study.
        origin: `source`, `target`, or the id of the run whose fakes are loaded.
        names: the names of the pairs.

    Raises:
        EngineError: the images are missing, or were changed after the evaluation.
    """
    runs = store.runs.read_all(study.id)
    if origin in ("source", "target"):
        environment = next((run.environment for run in runs if run.environment), None)
        source, target = load_pairs(study, environment, names, settings)
        images = source if origin == "source" else target
    else:
        run = next((run for run in runs if str(run.id) == origin), None)
        predictions = read_chosen_predictions(store, [run] if run is not None else [])
        if run is None or run.id not in predictions:
            raise EngineError(f"There are no pictures of run {origin} in study {study.id}.")
        images = load_fakes(predictions[run.id], names, study.budget.px, settings)
    return tile([[image] for image in images])


def animate(
    columns: Mapping[str, Sequence[Sample]], row: int, settings: Settings, file_format: str
) -> bytes:
    """Animates one sample image through the epochs, with several runs side by side.

    Args:
        columns: name of a run -> samples of this run, in the order of the epochs.
        row: the index of the sample image, from 0.
        settings: the locations of the samples.
        file_format: `gif` or `webp`.

    Returns:
        The content of the file.

    Raises:
        BadInputError: the format is unknown, there are no samples, or no sample has this row.
        EngineError: a sample cannot be read.
    """
    if file_format not in ("gif", "webp"):
        raise BadInputError(f"An animation is gif or webp, not {file_format[:20]!r}.")
    shown = dict(list(columns.items())[:MAX_COLUMNS])
    epochs = _evenly_spaced(
        sorted({sample.epoch for samples in shown.values() for sample in samples})
    )
    if not epochs:
        raise BadInputError("These runs have no samples yet.")
    frames = (_frame(shown, epoch, row, settings) for epoch in epochs)
    buffer = io.BytesIO()
    next(frames).save(
        buffer,
        format=file_format.upper(),
        save_all=True,
        append_images=frames,
        duration=[FRAME_MS] * (len(epochs) - 1) + [LAST_FRAME_MS],
        loop=0,
    )
    return buffer.getvalue()


def _evenly_spaced(epochs: Sequence[int]) -> list[int]:
    """Selects at most `MAX_FRAMES` evenly spaced epochs, including the first and the last."""
    if len(epochs) <= MAX_FRAMES:
        return list(epochs)
    indices = np.linspace(0, len(epochs) - 1, MAX_FRAMES).round().astype(int)
    return [epochs[index] for index in indices]


def _frame(
    columns: Mapping[str, Sequence[Sample]], epoch: int, row: int, settings: Settings
) -> Image.Image:
    """Draws source, target and each run's newest sample up to an epoch, with names above."""
    newest = {
        name: next((sample for sample in reversed(samples) if sample.epoch <= epoch), None)
        for name, samples in columns.items()
    }
    first = next(sample for samples in columns.values() for sample in samples)
    images: list[tuple[str, Image.Image | None]] = [
        ("source", _shrunk(crop_sample(first.source, row, settings))),
        ("target", _shrunk(crop_sample(first.target, row, settings))),
    ]
    for name, sample in newest.items():
        if sample is None:
            images.append((name, None))
        else:
            fake = _shrunk(crop_sample(sample.fake, row, settings))
            images.append((f"{name}, epoch {sample.epoch}", fake))

    font = ImageFont.load_default(13)
    side = next(image for _, image in images if image is not None).width
    widths = [max(side, int(font.getlength(name)) + 8) for name, _ in images]
    size = (sum(widths) + GUTTER_PX * (len(images) - 1), side + HEADER_PX)
    canvas = Image.new("RGB", size, (BACKGROUND,) * 3)
    draw, left = ImageDraw.Draw(canvas), 0
    for (name, image), width in zip(images, widths, strict=True):
        middle = left + width // 2
        color = TEXT_RGB if image else MUTED_RGB
        draw.text((middle, 4), name, fill=color, font=font, anchor="ma")
        if image is not None:
            canvas.paste(image, (middle - side // 2, HEADER_PX))
        left += width + GUTTER_PX
    return canvas


def _shrunk(image: Image.Image) -> Image.Image:
    side = min(image.width, MAX_SIDE_PX)
    return image.resize((side, side), Image.Resampling.LANCZOS)


def crop_sample(path: str, row: int, settings: Settings) -> Image.Image:
    """Crops one image out of a strip of samples.

    Args:
        path: the strip's path, relative to the artifacts folder.
        row: the index of the image, from 0.
        settings: the location of the artifacts folder.

    Raises:
        BadInputError: the strip has no such row.
        EngineError: the file cannot be read.
    """
    try:
        with Image.open(settings.artifacts / path) as strip:
            side = strip.width
            count = (strip.height + GUTTER_PX) // (side + GUTTER_PX)
            if not 0 <= row < count:
                raise BadInputError(f"There are samples 1 to {count}, not {row + 1}.")
            top = row * (side + GUTTER_PX)
            image = strip.convert("RGB").crop((0, top, side, top + side))
    except OSError as error:
        raise EngineError(f"The samples {path} cannot be read ({error}).") from error
    return image


def strip_to_png(strip: ImageArray) -> bytes:
    """Encodes a strip as PNG; the compression is fast, but the file is larger."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(strip)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
