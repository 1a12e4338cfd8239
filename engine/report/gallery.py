"""Pictures to browse: any of the evaluated split in any order, and samples through the epochs.

Torch-free; `cases` chooses a few of them for tables and reports.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine.config import REPORTED_SPLIT
from engine.errors import BadInputError, EngineError
from engine.images.grids import BACKGROUND, FAINT, GUTTER, INK, Pictures, tile
from engine.records.runs import Run, Sample, Study
from engine.report.cases import Which, choose, chosen_predictions, read_fakes, read_pairs
from engine.settings import Settings
from engine.store import Store

MOST_FRAMES, MOST_COLUMNS, MOST_SIDE = 60, 12, 256  # of an animation
FRAME_MS, LAST_FRAME_MS = 350, 1500
HEAD = 24  # pixels above the pictures of an animation, for their names


def judged_runs(store: Store, runs: Sequence[Run]) -> list[Run]:
    """Those of the runs whose chosen checkpoint's pictures are kept."""
    kept = chosen_predictions(store, runs)
    return [run for run in runs if run.id in kept]


def read_order(
    store: Store, runs: Sequence[Run], metric: str, best_first: bool
) -> tuple[tuple[str, ...], dict[int, dict[str, float | None]]]:
    """All evaluated pictures, by what runs are worth on them.

    Args:
        store: where scores are.
        runs: judged by the mean of these, each by its chosen checkpoint.
        metric: one of `cases.judged_metrics`.
        best_first: or the worst.

    Returns:
        The names in order, and run -> name -> score.
    """
    epochs = {run.id: run.best_epoch for run in runs}
    scores: dict[int, dict[str, float | None]] = {run.id: {} for run in runs}
    for it in store.read_scores(list(epochs), REPORTED_SPLIT, [metric]):
        if it.epoch == epochs[it.run_id]:
            scores[it.run_id][it.picture] = it.value
    which: Which = "best" if best_first else "worst"
    return choose({str(it): of_run for it, of_run in scores.items()}, metric, which, None), scores


def read_strip(
    store: Store, settings: Settings, study: Study, of: str, names: Sequence[str]
) -> Pictures:
    """Pictures of the evaluated split below each other, as `grids.tile` puts them.

    Args:
        store: where predictions are recorded.
        settings: where they lie.
        study: whose.
        of: `source`, `target` or a run's number.
        names: of the pairs.

    Raises:
        EngineError: they are not where they were, or are others by now.
    """
    runs = store.read_runs(study.id)
    if of in ("source", "target"):
        environment = next((run.environment for run in runs if run.environment), None)
        source, target = read_pairs(study, environment, names, settings)
        pictures = source if of == "source" else target
    else:
        run = next((it for it in runs if str(it.id) == of), None)
        kept = chosen_predictions(store, [run] if run is not None else [])
        if run is None or run.id not in kept:
            raise EngineError(f"There are no pictures of run {of} in study {study.id}.")
        pictures = read_fakes(kept[run.id], names, study.budget.px, settings)
    return tile([[picture] for picture in pictures])


def animate(
    columns: Mapping[str, Sequence[Sample]], row: int, settings: Settings, file_format: str
) -> bytes:
    """One sample picture through the epochs, its runs beside each other.

    Args:
        columns: name -> samples of a run, by epoch.
        row: which picture, from 0.
        settings: where they lie.
        file_format: `gif` or `webp`.

    Raises:
        BadInputError: there is nothing to show.
    """
    if file_format not in ("gif", "webp"):
        raise BadInputError(f"An animation is gif or webp, not {file_format[:20]!r}.")
    shown = dict(list(columns.items())[:MOST_COLUMNS])
    epochs = _thinned(sorted({it.epoch for samples in shown.values() for it in samples}))
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


def _thinned(epochs: Sequence[int]) -> list[int]:
    """At most so many epochs, evenly spread, the first and the last among them."""
    if len(epochs) <= MOST_FRAMES:
        return list(epochs)
    places = np.linspace(0, len(epochs) - 1, MOST_FRAMES).round().astype(int)
    return [epochs[place] for place in places]


def _frame(
    columns: Mapping[str, Sequence[Sample]], epoch: int, row: int, settings: Settings
) -> Image.Image:
    """Source, target and every run at or before an epoch, with their names above."""
    newest = {
        name: next((it for it in reversed(samples) if it.epoch <= epoch), None)
        for name, samples in columns.items()
    }
    first = next(it for samples in columns.values() for it in samples)
    shown: list[tuple[str, Image.Image | None]] = [
        ("source", _small(cut(first.source, row, settings))),
        ("target", _small(cut(first.target, row, settings))),
    ]
    shown += [
        (
            f"{name}, epoch {it.epoch}" if it is not None else name,
            _small(cut(it.fake, row, settings)) if it is not None else None,
        )
        for name, it in newest.items()
    ]
    font = ImageFont.load_default(13)
    side = next(picture for _, picture in shown if picture is not None).width
    widths = [max(side, int(font.getlength(name)) + 8) for name, _ in shown]
    size = (sum(widths) + GUTTER * (len(shown) - 1), side + HEAD)
    canvas = Image.new("RGB", size, (BACKGROUND,) * 3)
    draw, left = ImageDraw.Draw(canvas), 0
    for (name, picture), width in zip(shown, widths, strict=True):
        middle = left + width // 2
        draw.text((middle, 4), name, fill=INK if picture else FAINT, font=font, anchor="ma")
        if picture is not None:
            canvas.paste(picture, (middle - side // 2, HEAD))
        left += width + GUTTER
    return canvas


def _small(picture: Image.Image) -> Image.Image:
    side = min(picture.width, MOST_SIDE)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def cut(path: str, row: int, settings: Settings) -> Image.Image:
    """One picture out of a strip of samples."""
    try:
        with Image.open(settings.artifacts / path) as strip:
            side = strip.width
            count = (strip.height + GUTTER) // (side + GUTTER)
            if not 0 <= row < count:
                raise BadInputError(f"There are samples 1 to {count}, not {row + 1}.")
            top = row * (side + GUTTER)
            picture = strip.convert("RGB").crop((0, top, side, top + side))
    except OSError as error:
        raise EngineError(f"The samples {path} cannot be read ({error}).") from error
    return picture


def to_png(picture: Pictures) -> bytes:
    """A strip as a PNG file's content, made for speed rather than for size."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
