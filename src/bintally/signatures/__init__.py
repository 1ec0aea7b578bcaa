"""Digests over folders, and signatures of them: whether files are the ones that somebody vouched for."""

from bintally.signatures.checking import Signed, check, inspect
from bintally.signatures.signing import sign

__all__ = ["Signed", "check", "inspect", "sign"]
