"""Pure: what follows from what, decided without I/O, clock or dice."""
