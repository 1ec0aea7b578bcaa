"""A Ray cluster of two nodes on this machine, a CPU each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.conftest import ROOT


@contextmanager
def two_nodes(**of_head: Any) -> Iterator[str]:
    """Its address; in the environment, too, as on a machine of a cluster."""
    from ray.cluster_utils import Cluster

    # Nobody looks at a dashboard or at logs here, or waits for more nodes; each would be processes that import much.
    node: dict[str, Any] = {"num_cpus": 1, "include_log_monitor": False}
    unasked = {"prestart_worker_first_driver": False}  # processes that wait for work would get none
    head = {
        **node,
        "_system_config": unasked,
        "include_dashboard": False,
        "dashboard_port": 0,
        "no_monitor": True,
        **of_head,
    }
    nodes = Cluster(initialize_head=True, head_node_args=head)
    nodes.add_node(**node)
    before = dict(os.environ)
    os.environ["RAY_ADDRESS"] = nodes.address
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"  # how soon it sees that a worker has ended
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    try:
        yield nodes.address
    finally:
        os.environ.clear()
        os.environ.update(before)
        nodes.shutdown()  # type: ignore[no-untyped-call]
