"""One rendering process: reads its order from stdin, answers with a line for each bin (see source.py)."""

import os
import sys

from bintally.data.rendered.source import run_order

if __name__ == "__main__":
    try:
        for line in run_order(sys.stdin.read()):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more: who started this is gone
