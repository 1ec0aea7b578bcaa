"""Runs and versions told to MLflow, whose word counts nothing here: our database is what is so."""

from bintally.registry.tracking.log import Logged, log, log_run, try_log
from bintally.registry.tracking.mirror import Mirrored, mirror

__all__ = ["Logged", "Mirrored", "log", "log_run", "mirror", "try_log"]
