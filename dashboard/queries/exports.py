"""Reads the exports of a study to MLflow that are not finished or have failed."""

from dataclasses import dataclass

from dashboard.queries import access
from engine.jobs.exports import read_export_statuses
from engine.store import utc_now


@dataclass(frozen=True)
class ExportLine:
    """An export, as the Compare page shows it.

    Attributes:
        export_id: the id of the export.
        sentence: what is uploaded, or why the last upload failed.
        has_error: whether an upload failed, or some runs could not be uploaded.
        can_cancel: whether something is still to be uploaded.
    """

    export_id: int
    sentence: str
    has_error: bool
    can_cancel: bool


def export_lines(study_id: int) -> list[ExportLine]:
    """Reads the exports of a study that are not finished, or that could not upload some runs."""
    lines = []
    for status in read_export_statuses(access.store(), [study_id]):
        if status.is_notable:
            export, text = status.export, status.describe(utc_now())
            sentence = f"{text[0].upper()}{text[1:]}."
            has_error = export.error is not None
            lines.append(ExportLine(export.id, sentence, has_error, export.is_pending))
    return lines
