"""A simulated site, and robots as load."""
