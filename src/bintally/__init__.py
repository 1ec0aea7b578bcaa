"""bintally counts the items in photos of warehouse bins, and says how sure it is.

    from bintally import Counter
    Counter().count("photo.jpg").count

Names load when first used, so that `import bintally` costs nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bintally.client.async_client import AsyncClient as AsyncClient
    from bintally.client.client import Client as Client
    from bintally.counting.batch import count as count
    from bintally.counting.compare import compare as compare
    from bintally.counting.counter import Counter as Counter
    from bintally.counting.evaluate import evaluate as evaluate
    from bintally.counting.evaluate_bins import evaluate_bins as evaluate_bins
    from bintally.counting.following import History as History
    from bintally.counting.following import follow as follow
    from bintally.counting.verification import Verification as Verification
    from bintally.counting.verify_lines import verify as verify
    from bintally.data.check import check as check
    from bintally.data.explore import explore as explore
    from bintally.data.fetch import fetch as fetch
    from bintally.data.split import split as split
    from bintally.inventory.erp.run import post_corrections as post_corrections
    from bintally.inventory.erp.run import pull_stock as pull_stock
    from bintally.inventory.kpi.run import kpi as kpi
    from bintally.inventory.planning.run import plan_counts as plan_counts
    from bintally.inventory.policy.check import check_policy as check_policy
    from bintally.inventory.policy.fit import fit_policy as fit_policy
    from bintally.inventory.policy.show import show_policy as show_policy
    from bintally.inventory.reconcile.run import reconcile as reconcile
    from bintally.pipeline.run import run_pipeline as run_pipeline
    from bintally.records import CountEstimate as CountEstimate
    from bintally.registry.tracking.log import log_run as log_run
    from bintally.serving.server import serve as serve
    from bintally.simulation.run import simulate as simulate
    from bintally.training.diagnose.before.run import diagnose as diagnose
    from bintally.training.diagnose.watcher import watch as watch
    from bintally.training.export import export as export
    from bintally.training.run import train as train
    from bintally.training.run_report import report as report
    from bintally.training.tune.run import tune as tune
    from bintally.training.tune.search import search as search

# ONNX Runtime (from 1.29 on) would tell its maker about models and machine, over the network, from its import on:
# https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "client.async_client",
    "Client": "client.client",
    "CountEstimate": "records",
    "Counter": "counting.counter",
    "History": "counting.following",
    "Verification": "counting.verification",
    "check": "data.check",
    "compare": "counting.compare",
    "check_policy": "inventory.policy.check",
    "count": "counting.batch",
    "diagnose": "training.diagnose.before.run",
    "evaluate": "counting.evaluate",
    "evaluate_bins": "counting.evaluate_bins",
    "explore": "data.explore",
    "export": "training.export",
    "fetch": "data.fetch",
    "fit_policy": "inventory.policy.fit",
    "follow": "counting.following",
    "kpi": "inventory.kpi.run",
    "log_run": "registry.tracking.log",
    "plan_counts": "inventory.planning.run",
    "post_corrections": "inventory.erp.run",
    "pull_stock": "inventory.erp.run",
    "reconcile": "inventory.reconcile.run",
    "report": "training.run_report",
    "run_pipeline": "pipeline.run",
    "search": "training.tune.search",
    "serve": "serving.server",
    "show_policy": "inventory.policy.show",
    "simulate": "simulation.run",
    "split": "data.split",
    "train": "training.run",
    "tune": "training.tune.run",
    "verify": "counting.verify_lines",
    "watch": "training.diagnose.watcher",
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
