"""Stock records held against photos or counts in files: what is accepted, what a person must look at, and why."""
