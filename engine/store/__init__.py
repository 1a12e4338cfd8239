"""What is recorded, and the only place that speaks SQL: `Store`."""

from engine.store.connected import LostJobError
from engine.store.connection import check_address, is_absent
from engine.store.store import Store, utc_now

__all__ = ["LostJobError", "Store", "check_address", "is_absent", "utc_now"]
