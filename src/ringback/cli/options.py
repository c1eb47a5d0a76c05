"""Which server does a command speak of? The options that choose one, and the settings that follow from them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringback.config import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every command takes which needs a database."""
    parser.add_argument("--database", metavar="PATH|URL", help="the SQLite file, or a sqlite:/// URL (default: ringback.db)")
    parser.add_argument("--config", metavar="FILE", help="a TOML file with settings (default: what RINGBACK_CONFIG names, or none)")


def settings_of(args: argparse.Namespace, defaults: Mapping[str, str] | None = None) -> Settings:
    """The settings from flags, environment, file and `defaults`, in this order. Raises SettingsError."""
    # Here, not above: loading settings costs more than printing a version or a usage message.
    from ringback.config import load_settings

    flags = {"database_url": args.database, "listen_address": getattr(args, "listen", None)}
    overrides = {name: value for name, value in flags.items() if value is not None}
    return load_settings(overrides, os.environ, args.config, defaults=defaults or {})
