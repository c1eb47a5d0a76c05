"""One attempt: seal, guard, resolve, connect, send. Never sees the store."""
