"""Settings of a client: from a file, the environment and keywords."""

from headrace.settings.core_settings import OPENAI_URL, CoreSettings
from headrace.settings.loading import SHARED_FOLDER, SPENT_BEFORE, load_settings, settings_in
from headrace.settings.rate_limits import PerMinute, RateLimits, positive_number
from headrace.settings.sections import Settings

__all__ = [
    "OPENAI_URL",
    "SHARED_FOLDER",
    "SPENT_BEFORE",
    "CoreSettings",
    "PerMinute",
    "RateLimits",
    "Settings",
    "load_settings",
    "positive_number",
    "settings_in",
]
