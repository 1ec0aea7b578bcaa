import gzip
import json
from pathlib import Path

import pytest

from bintally.training.profile.operators import PROFILE, TRACE, OperatorRecorder, read_operators
from tests.training.profile.conftest import train_toy


def test_the_chosen_steps_operators_are_told_with_their_shapes(tmp_path: Path) -> None:
    train_toy(tmp_path, batches=10, callbacks=[OperatorRecorder(tmp_path, wait=2, warm=1, active=3)])
    table = read_operators(tmp_path)
    layers = {row.shapes: row.calls for row in table if row.name == "aten::linear"}
    assert layers["[64, 8], [512, 8], [512]"] == 3
    assert len(layers) == 3
    assert sum(row.share for row in table) == pytest.approx(1, abs=0.01)
    assert [row.share for row in table] == sorted((row.share for row in table), reverse=True)
    assert all(row.self_cpu_ms <= row.cpu_ms + 1e-3 for row in table)
    trace = json.loads(gzip.decompress((tmp_path / PROFILE / TRACE).read_bytes()))
    assert any(event.get("name") == "aten::linear" for event in trace["traceEvents"])


def test_a_training_that_is_over_before_them_leaves_no_table(tmp_path: Path) -> None:
    train_toy(tmp_path, batches=2, callbacks=[OperatorRecorder(tmp_path)])
    assert read_operators(tmp_path) == ()
