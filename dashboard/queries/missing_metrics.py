"""Reads which metrics a study lacks because weights were missing, and the job that computes them.

The pages get a frozen record; whether weights are on this machine is checked at each call.
"""

from dataclasses import dataclass

import streamlit as st

from dashboard.queries import access, studies
from engine import weights
from engine.jobs import missing_metrics
from engine.jobs.missing_metrics import MissingMetrics
from engine.metrics.catalog import CATALOG
from engine.records.runs import Job


@dataclass(frozen=True)
class MissingMetricsStatus:
    """The missing metrics of a study, and the newest job that computes such metrics.

    Attributes:
        computable: the missing metrics whose weights are on this machine now.
        blocked: the missing metrics whose weights are still missing.
        newest_job: the newest job of the study; None if there is none.
    """

    computable: MissingMetrics
    blocked: MissingMetrics
    newest_job: Job | None

    @property
    def active_job(self) -> Job | None:
        """The newest job if it is queued or running; else None."""
        job = self.newest_job
        return None if job is None or job.state.is_finished() else job

    @property
    def progress_text(self) -> str:
        """A description of the job that is queued or running; "" without such a job."""
        if self.active_job is None:
            return ""
        text = missing_metrics.describe_progress(self.active_job, self.computable)
        return text[0].upper() + text[1:]

    @property
    def leading_labels(self) -> str:
        """The label of the first computable metric of each network: `FID`."""
        names = [
            self.computable.limited_to([network]).metrics[0] for network in self.computable.networks
        ]
        return " and ".join(CATALOG[name].label for name in names)

    @property
    def weights_labels(self) -> str:
        """The labels of the weights that the computable metrics need."""
        return " and ".join(weights.get_weights(name).label for name in self.computable.networks)


def missing_metrics_status(study_id: int) -> MissingMetricsStatus:
    """Reads the status of a study."""
    store, settings = access.store(), access.settings()
    newest_job = store.jobs.read_newest("evaluate", str(study_id))
    version = studies.comparison_version(store.runs.read_all(study_id))
    missing = _find_missing_metrics(access.database_id(), study_id, version)
    available = missing_metrics.available_networks(missing, settings)
    return MissingMetricsStatus(
        computable=missing.limited_to(available),
        blocked=missing.limited_to(set(missing.networks) - set(available)),
        newest_job=newest_job,
    )


@st.cache_resource(max_entries=50, show_spinner=False)
def _find_missing_metrics(
    database_id: str, study_id: int, version: tuple[object, ...]
) -> MissingMetrics:
    """Finds the missing metrics of a study; cached until a run or an evaluation changes."""
    return missing_metrics.find_missing_metrics(access.store(), study_id)
