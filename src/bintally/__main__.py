"""`python -m bintally` is `bintally`."""

from bintally.cli import main

main()
