"""How this server is set up: what may be set (`settings`), how values are written (`values`), where they come from (`load`)."""

from ringback.config.load import SettingsError, load_settings
from ringback.config.settings import Settings

__all__ = ["Settings", "SettingsError", "load_settings"]
