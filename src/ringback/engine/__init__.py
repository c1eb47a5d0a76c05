"""What decides when which delivery is attempted, and records what came of it."""
