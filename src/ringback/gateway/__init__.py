"""The door for providers: requests of sources are judged, kept, and answered."""
