"""Stock systems: what they hold is read, and corrections are posted to them, each exactly once."""
