"""Pure: how bytes are signed and verified."""
