"""Records of exports to MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Export:
    """The export of one study to one MLflow server.

    Attributes:
        uri: the address of the server.
        request: the number of the newest request; each request adds one.
        requested_at: the time of the newest request.
        uploaded_request: the newest request after which everything that was stored was uploaded.
        completed_request: the newest request after which the study ended and was uploaded.
        is_cancelled: whether a user cancelled the newest request.
        phase: what is uploaded now, in words; None between two uploads.
        error: why the last upload failed, or which runs could not be uploaded; None without errors.
        failures: the number of jobs in a row that failed; a running job counts until it ends.
        next_at: when the next upload may start; None: when a run of the study starts, or when the
            last one has ended.
    """

    id: int
    study_id: int
    uri: str
    request: int
    requested_at: datetime
    uploaded_request: int = 0
    completed_request: int = 0
    is_cancelled: bool = False
    phase: str | None = None
    error: str | None = None
    failures: int = 0
    next_at: datetime | None = None

    @property
    def is_pending(self) -> bool:
        """Whether something is to be uploaded, now or when the runs of the study continue."""
        return not self.is_cancelled and self.completed_request < self.request


@dataclass(frozen=True)
class RunUpload:
    """The uploaded parts of one run of an export.

    Attributes:
        mlflow_id: the id of the MLflow run; "" before it was created.
        began: start time, as text, of the attempt that began at step 0. If the store has another
            time, the run was started again and the MLflow run is outdated.
        cursor: the id of the last uploaded curve point.
        steps: curve -> its last uploaded step. The steps that a resumed run records a second time
            are not uploaded again.
        sample_id: the id of the last uploaded sample.
        values: evaluation -> its uploaded value, or the uploaded reason why it has no value.
        has_params: whether the run's settings were uploaded.
        state: the last uploaded state of the run; "" before the first upload of a state.
        model: SHA-256 of the checkpoint whose model was uploaded; "" before the upload.
        error: why the run could not be uploaded; None without an error.
    """

    run_id: int
    mlflow_id: str = ""
    began: str = ""
    cursor: int = 0
    steps: Mapping[str, int] = field(default_factory=dict)
    sample_id: int = 0
    values: Mapping[str, float | str] = field(default_factory=dict)
    has_params: bool = False
    state: str = ""
    model: str = ""
    error: str | None = None
