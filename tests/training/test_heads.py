"""The head that compares two photos of a bin."""

import torch

from bintally.training.heads import MAX_CHANGE, ChangeHead


def head() -> ChangeHead:
    torch.manual_seed(0)
    return ChangeHead(8, 12, width=4).eval()


def test_exchanging_the_photos_turns_the_change_around() -> None:
    compare = head()
    one, other = torch.randn(2, 5, 8, 6, 6)
    evidence_pd, back_pd = compare(one, other), compare(other, one)
    assert evidence_pd.shape == (5, 2 * MAX_CHANGE + 1)
    torch.testing.assert_close(evidence_pd, back_pd.flip(1))


def test_maps_have_the_finer_size() -> None:
    maps_nchw = head().maps(torch.randn(2, 8, 6, 6), torch.randn(2, 12, 3, 3))
    assert maps_nchw.shape == (2, 8, 6, 6)


def test_what_stands_a_little_elsewhere_is_matched() -> None:
    """A bin photographed from a step aside has not changed: what is left after matching is little."""
    compare = head()
    with torch.no_grad():
        compare.sharpness.fill_(200.0)
    maps_nchw = torch.randn(1, 8, 12, 12)
    captured: list[torch.Tensor] = []
    compare.body.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    compare(maps_nchw, maps_nchw.roll((1, -2), (2, 3)))
    left = captured[0][:, 16:24, 3:-3, 3:-3]  # later minus matched, off the edges
    assert left.abs().max() < 1e-3
