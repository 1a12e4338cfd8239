"""Opens the database and the settings that queries and actions share.

Queries, actions and `dashboard.startup` are the only parts of the dashboard that use the store.
"""

from dataclasses import replace

import streamlit as st
from streamlit import config, runtime

from dashboard import startup
from engine.settings import Settings
from engine.store import Store, identify


@st.cache_resource
def settings() -> Settings:
    """Returns the settings from the environment in which the server was started.

    If other machines can reach the server, pages may read only folders that the user has listed.
    """
    settings = Settings.from_environment()
    has_server = runtime.exists() and not config.get_option("global.appTest")
    if settings.data_roots is None and has_server and startup.is_exposed():
        return replace(settings, data_roots=())
    return settings


def store() -> Store:
    """Returns the store that all sessions share; opens a new one if the database was replaced."""
    url = settings().database_url
    if identify(url) is None:
        Store(url).close()  # creates the file
    return _open_store(url, identify(url))


def database_id() -> str:
    """Returns an id of the database for cache keys; the id changes if the file is replaced."""
    return f"{settings().database_url} {identify(settings().database_url)}"


@st.cache_resource
def _open_store(url: str, file_id: str | None) -> Store:
    """Opens one store per database file; `file_id` is only part of the cache key."""
    return Store(url)


def artifact_path(path: str) -> str | None:
    """Returns the absolute path of a file in the artifacts folder; None if it does not exist."""
    absolute = settings().artifacts / path
    return str(absolute) if absolute.is_file() else None
