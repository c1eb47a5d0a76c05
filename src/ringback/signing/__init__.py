"""Who wrote these bytes? Making and checking signatures: pure, no I/O, no clock."""
