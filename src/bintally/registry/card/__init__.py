"""Model cards: what a version is, what it was measured to do, and what it is not for."""
