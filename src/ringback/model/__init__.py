"""Pure: what the nouns are."""
