import pytest
import torch

from bintally.training.network import build_network
from bintally.training.recipe import NetworkSettings
from bintally.training.servable import Familiar, Member, Servable, corrected, fit_temperature


def test_correction_by_hand() -> None:
    logits_vnk = torch.log(torch.tensor([[[0.5, 0.5]], [[0.7, 0.3]]]))
    found = corrected(logits_vnk[None], torch.tensor([[1.0, 2.0]]), 1.0)
    assert torch.allclose(found, torch.tensor([[0.6, 0.8]]) / 1.4)


def test_networks_are_averaged_after_their_own_corrections() -> None:
    first, second = torch.tensor([0.5, 0.5]), torch.tensor([0.2, 0.8])
    logits_mvnk = torch.stack([first, second]).log()[:, None, None]
    found = corrected(logits_mvnk, torch.tensor([[1.0, 3.0], [1.0, 1.0]]), 1.0)
    assert torch.allclose(found, (torch.tensor([[0.25, 0.75]]) + second) / 2)


def test_temperature_of_overconfident_logits_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_nk = torch.randn(20_000, 5, generator=generator)
    labels_n = torch.multinomial(logits_nk.softmax(dim=1), 1, generator=generator)[:, 0]
    assert fit_temperature(3 * logits_nk[None, None], labels_n, torch.ones(1, 5)) == pytest.approx(3, rel=0.05)


def test_novelty_is_one_for_the_known_and_large_for_the_strange() -> None:
    generator = torch.Generator().manual_seed(0)
    known_nt = torch.randn(3000, 40, generator=generator) * torch.linspace(0.1, 3, 40)
    familiar = Familiar.fit(known_nt)
    assert familiar.novelty(known_nt).mean().item() == pytest.approx(1, abs=0.05)
    assert familiar.novelty(known_nt + 8).min() > familiar.novelty(known_nt).max()


def test_novelty_is_the_definition_written_out() -> None:
    known_nt = torch.randn(200, 10, dtype=torch.float64) * torch.linspace(0.1, 3, 10, dtype=torch.float64)
    familiar = Familiar.fit(known_nt)
    photo_t = torch.randn(10) * 5
    centred_t = photo_t - familiar.mean_t
    typical = ((centred_t @ familiar.basis_td / familiar.deviations_d) ** 2).mean()
    left = ((centred_t - familiar.basis_td @ (familiar.basis_td.T @ centred_t)) ** 2).sum() / familiar.residual_scale
    assert familiar.novelty(photo_t[None]).item() == pytest.approx(float(0.5 * (typical + left)), rel=1e-3)


def _random_member(seed: int) -> Member:
    torch.manual_seed(seed)
    network, _ = build_network(NetworkSettings.of({"backbone": "test_resnet", "weights": "none"}), 7)
    with torch.no_grad():
        network.head().weight.mul_(20)  # type: ignore[operator]  # timm's heads have no common type
    return Member(network, torch.rand(7) + 0.5, px=48 if seed == 2 else None)


@pytest.mark.parametrize("flip", [False, True])
def test_several_networks_say_the_mean_of_what_each_says(flip: bool) -> None:
    members = [_random_member(seed) for seed in range(3)]
    photos_nhwc = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)

    def answer(*chosen: Member) -> torch.Tensor:
        [probabilities_nk] = Servable(chosen, temperature=1.3, flip=flip, familiar=None).eval()(photos_nhwc)
        found: torch.Tensor = probabilities_nk
        return found

    with torch.inference_mode():
        alone_mnk = torch.stack([answer(member) for member in members])
        assert (alone_mnk[0] - alone_mnk[1]).abs().max() > 0.01
        assert torch.allclose(answer(*members), alone_mnk.mean(dim=0), atol=1e-5)


def test_mirrored_photos_get_the_same_answer() -> None:
    network, _ = build_network(NetworkSettings.of({"backbone": "test_resnet", "weights": "none"}), 7)
    servable = Servable([Member(network, torch.ones(7))], temperature=1.3, flip=True, familiar=None).eval()
    photos_nhwc = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        [plain_nk], [mirrored_nk] = servable(photos_nhwc), servable(photos_nhwc.flip(2))
    assert torch.allclose(plain_nk, mirrored_nk, atol=1e-5)
    assert torch.allclose(plain_nk.sum(dim=1), torch.ones(3))
