"""Ringback sends, receives and debugs webhooks."""

__version__ = "0.1.0"
