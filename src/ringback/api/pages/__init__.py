"""The pages that the API serves, as files."""
