"""The door for owners: how a request becomes a call of a service, and an answer."""
