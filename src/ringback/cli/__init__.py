"""The commands of `ringback`, one module each."""
