"""Settings of a client, from a file, the environment and keywords."""

from headrace.settings.settings import (
    OPENAI_URL,
    SHARED_FOLDER,
    SPENT_BEFORE,
    CoreSettings,
    Settings,
    load_settings,
    settings_in,
)

__all__ = [
    "OPENAI_URL",
    "SHARED_FOLDER",
    "SPENT_BEFORE",
    "CoreSettings",
    "Settings",
    "load_settings",
    "settings_in",
]
