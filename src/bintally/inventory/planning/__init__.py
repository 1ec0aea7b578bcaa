"""Which bins to look at next: chances of error, what a look is worth, capacities, and the way through the aisles."""
