"""What the outside can see of the inside: events, logs, metrics."""
