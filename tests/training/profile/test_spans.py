import gc
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bintally.training.profile.device_clock import host_seconds
from bintally.training.profile.spans import START, UNEXPLAINED, Spans

FETCH = "[_TrainingEpochLoop].train_dataloader_next"
NAMES = {
    "[Strategy]Single.batch_to_device": "transfer",
    "[Strategy]Single.training_step": "forward",
    "[Strategy]Single.backward": "backward",
    "[LightningModule]Net.optimizer_step": "optimizer",
    "[LightningModule]Net.configure_gradient_clipping": "optimizer",
    "[LightningModule]Net.on_train_batch_start": "other:hook on_train_batch_start",
    "[Callback]Keeper.on_train_batch_end": "logging:Keeper",
    "[Callback]EarlyStopping{'monitor': 'a.b'}.on_train_batch_end": "other:callback EarlyStopping",
    "save_checkpoint": "logging:checkpoint",
    "run_training_batch": "",  # what it is part of
}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _spans(clock: Clock) -> Spans:
    return Spans(lambda: None, ours=frozenset({"Keeper"}), clock=clock)


def test_each_kind_of_action_has_its_name() -> None:
    for action, name in NAMES.items():
        clock = Clock()
        spans = _spans(clock)
        spans.start(FETCH)
        spans.stop(FETCH)
        spans.take()
        with spans.profile(action):
            clock.now += 1
        found = {key: seconds for key, seconds in host_seconds(spans.take()[0]).items() if seconds}
        assert found == {name or UNEXPLAINED: 1.0}


_TREE: st.SearchStrategy[Any] = st.recursive(
    st.tuples(st.sampled_from(sorted(NAMES)), st.integers(0, 9)).map(lambda leaf: (*leaf, [])),
    lambda inner: st.tuples(st.sampled_from(sorted(NAMES)), st.integers(0, 9), st.lists(inner, max_size=3)),
    max_leaves=12,
)


@given(st.lists(_TREE, max_size=5), st.integers(0, 9))
def test_no_moment_is_lost_or_counted_twice(trees: list[tuple[str, int, list[object]]], before: int) -> None:
    clock = Clock()
    spans = _spans(clock)
    clock.now += before
    with spans.profile(FETCH):
        clock.now += 2
    expected: defaultdict[str, float] = defaultdict(float, {START: float(before), "data": 2.0})

    def run(tree: tuple[str, int, list[object]], around: str) -> None:
        action, seconds, inner = tree
        name = NAMES[action] or around
        with spans.profile(action):
            clock.now += seconds
            expected[name] += seconds
            for child in inner:
                run(child, name)  # type: ignore[arg-type]

    for tree in trees:
        run(tree, UNEXPLAINED)
    found = {name: seconds for name, seconds in host_seconds(spans.take()[0]).items() if seconds}
    assert found == {name: seconds for name, seconds in expected.items() if seconds}
    assert sum(found.values()) == clock.now - 100


def test_validation_has_all_its_time_until_its_last_hook() -> None:
    clock = Clock()
    spans = _spans(clock)
    with spans.profile(FETCH):
        pass
    for action, seconds in (
        ("[LightningModule]Net.on_validation_model_zero_grad", 1),
        ("[_EvaluationLoop].val_next", 2),
        ("[Strategy]Single.validation_step", 4),
        ("[Callback]Keeper.on_validation_end", 8),
        ("[Strategy]Single.on_validation_end", 16),
        ("[Callback]Keeper.on_train_epoch_end", 32),
    ):
        with spans.profile(action):
            clock.now += seconds
    found = {name: seconds for name, seconds in host_seconds(spans.take()[0]).items() if seconds}
    assert found == {
        "validation": 17.0,
        "validation:data": 2.0,
        "validation:forward": 4.0,
        "validation:Keeper": 8.0,
        "logging:Keeper": 32.0,
    }


def test_pythons_collector_is_known_wherever_it_strikes() -> None:
    spans = Spans(lambda: None, ours=frozenset())
    spans.watch_garbage()
    try:
        with spans.profile(FETCH):
            pass
        spans.take()
        heap = [[] for _ in range(200_000)]  # type: ignore[var-annotated]
        with spans.profile("[Strategy]Single.training_step"):
            gc.collect()
        found = host_seconds(spans.take()[0])
    finally:
        spans.unwatch_garbage()
    assert len(heap) == 200_000
    assert found["other:gc"] > 5 * found["forward"]
    assert spans._collecting not in gc.callbacks
