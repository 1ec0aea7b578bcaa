"""Photos and records in: sources, fetch, the rendered sample, check, explore, split."""
