"""What is recorded, and the only place that speaks SQL: `Store`."""

from engine.store.connected import GoneDatabaseError, LostJobError
from engine.store.connection import (
    check_address,
    database_path,
    has_password,
    identify,
    is_absent,
    is_on_this_machine,
)
from engine.store.queue import Place
from engine.store.store import Store, utc_now

__all__ = [
    "GoneDatabaseError",
    "LostJobError",
    "Place",
    "Store",
    "check_address",
    "database_path",
    "has_password",
    "identify",
    "is_absent",
    "is_on_this_machine",
    "utc_now",
]
