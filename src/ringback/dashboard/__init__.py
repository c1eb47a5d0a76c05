"""The door for people: a web interface, rendered here, over the same services as the API."""
