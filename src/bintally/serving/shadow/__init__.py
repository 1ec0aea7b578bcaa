"""A challenger counts some of the photos, too, in a process of its own, and nobody waits for it or hears it."""
