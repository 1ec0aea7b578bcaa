import pytest
import torch
from torch import nn

from bintally.training.averaging import AveragedNetwork


def test_the_average_is_the_one_worked_out_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    averaged = AveragedNetwork(network, decay=0.2)
    by_hand = {name: value.clone() for name, value in network.state_dict().items()}
    for step in range(6):
        network(torch.randn(2, 3, 4, 4) + step)  # moves the norm's statistics
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        averaged.follow(network, step)
        decay = min(0.2, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            floating = value.is_floating_point()
            by_hand[name] = decay * by_hand[name] + (1 - decay) * value if floating else value.clone()
    found = averaged.network.state_dict()
    assert found["1.running_mean"].tolist() != network.state_dict()["1.running_mean"].tolist()
    for name, value in by_hand.items():
        assert torch.allclose(found[name], value, atol=1e-6), name
    assert int(found["1.num_batches_tracked"]) == 6


def test_the_average_is_a_copy_that_learns_nothing() -> None:
    network = nn.Linear(2, 2)
    averaged = AveragedNetwork(network, decay=0.9)
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
    with torch.no_grad():
        network.weight.fill_(5)
    assert averaged.network.state_dict()["weight"].tolist() != network.weight.tolist()


@pytest.mark.parametrize("frozen", [0.1, 3.7])
def test_what_does_not_move_is_averaged_to_itself(frozen: float) -> None:
    network = nn.Linear(2, 2)
    nn.init.constant_(network.weight, frozen)
    averaged = AveragedNetwork(network, decay=0.999)
    for step in range(50):
        averaged.follow(network, step)
    assert torch.equal(averaged.network.state_dict()["weight"], network.weight)
