"""The schema, as numbered scripts; `steps` reads them."""
