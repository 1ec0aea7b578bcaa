"""From facts to verdicts: photos are looked at, bins are followed over time, records are judged."""
