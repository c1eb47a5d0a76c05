"""What does Ringback cost, and how fast is it? The tools behind `scripts/bench`; no part of the product."""
