import pytest
import torch

from bintally.errors import TrainingError
from bintally.training.watch import LossWatch


def test_losses_are_kept_in_order_and_looked_at_only_when_settled() -> None:
    watch = LossWatch()
    for step, loss in enumerate([3.0, 2.0]):
        watch.add(step, torch.tensor(loss))
    assert watch.epoch == []
    watch.settle()
    watch.settle()
    assert watch.epoch == [3.0, 2.0]
    assert watch.smooth == pytest.approx(2.95)


def test_whoever_listens_is_told_each_loss_nonsense_too() -> None:
    watch, told = LossWatch(), []
    watch.listeners.append(lambda step, loss: told.append((step, loss)))
    for step, loss in enumerate([3.0, float("inf")]):
        watch.add(step, torch.tensor(loss))
    with pytest.raises(TrainingError):
        watch.settle()
    assert told == [(0, 3.0), (1, float("inf"))]


def test_after_a_while_they_are_looked_at_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bintally.training.watch.EVERY_S", -1.0)
    watch = LossWatch()
    watch.add(0, torch.tensor(1.5))
    assert watch.epoch == [1.5]


def test_the_step_whose_loss_is_nonsense_is_named() -> None:
    watch = LossWatch()
    for step, loss in [(10, 1.0), (11, float("nan")), (12, float("inf"))]:
        watch.add(step, torch.tensor(loss))
    with pytest.raises(TrainingError, match=r"became nan at step 11\..*body_lr"):
        watch.settle()
