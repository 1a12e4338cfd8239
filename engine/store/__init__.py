"""What is recorded, and the only place that speaks SQL: `Store`."""

from engine.store.store import LostJobError, Store, utc_now

__all__ = ["LostJobError", "Store", "utc_now"]
