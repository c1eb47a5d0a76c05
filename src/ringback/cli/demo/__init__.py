"""`ringback serve --demo`: a second process that uses the server as a customer would, and shows how it fares."""
