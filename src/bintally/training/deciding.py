"""Which code decides a training's weights; known without importing any of it."""

from typing import Final

CODE: Final = (
    "counting/decode.py",
    "counting/facts.py",
    "counting/metrics.py",
    "data/balance.py",
    *(
        f"training/{name}.py"
        for name in (
            "attributes",
            "averaging",
            "beside",
            "bins",
            "cache",
            "dataset",
            "features",
            "feed",
            "heads",
            "loop",
            "losses",
            "mixing",
            "module",
            "network",
            "optimizer",
            "pairs",
            "plan",
            "replay",
            "teachers",
            "watch",
        )
    ),
)
"""What decides a training's weights. Not the whole wing: a better message in export must not cost an hour."""
