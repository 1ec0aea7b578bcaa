import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bintally.counting.metrics import log_loss
from bintally.training.tune.ensemble import greedy, select

seeds = st.integers(0, 2**32 - 1)


def _answers(rng: np.random.Generator, networks: int, photos: int, *, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [M, N, K] of networks that err independently, and the labels [N]."""
    labels_n = rng.integers(5, size=photos)
    logits_mnk = rng.normal(size=(networks, photos, 5))
    logits_mnk[:, np.arange(photos), labels_n] += skill
    scores_mnk = np.exp(logits_mnk)
    return scores_mnk / scores_mnk.sum(axis=2, keepdims=True), labels_n


@given(seeds, st.integers(1, 6), st.integers(1, 40), st.integers(1, 4))
def test_never_worse_than_the_best_alone_on_the_photos_it_was_selected_on(
    seed: int, networks: int, photos: int, most: int
) -> None:
    probabilities_mnk, labels_n = _answers(np.random.default_rng(seed), networks, photos, skill=1.0)
    chosen = greedy(probabilities_mnk, labels_n, most=most)
    alone = [log_loss(told_nk, labels_n) for told_nk in probabilities_mnk]
    assert log_loss(probabilities_mnk[list(chosen)].mean(axis=0), labels_n) <= min(alone) + 1e-12
    assert chosen[0] == int(np.argmin(alone))
    assert 1 <= len(chosen) <= most
    assert len(set(chosen)) == len(chosen)


@given(seeds, st.permutations(range(4)))
def test_the_order_of_networks_does_not_matter(seed: int, order: list[int]) -> None:
    probabilities_mnk, labels_n = _answers(np.random.default_rng(seed), 4, 30, skill=1.0)
    plain = greedy(probabilities_mnk, labels_n, most=3)
    turned = greedy(probabilities_mnk[order], labels_n, most=3)
    assert [order[member] for member in turned] == list(plain)


def test_networks_that_err_independently_answer_better_together() -> None:
    probabilities_mnk, labels_n = _answers(np.random.default_rng(0), 4, 600, skill=1.5)
    found = select(probabilities_mnk, labels_n, list(range(600)), most=3)
    assert len(found.members) == 3
    assert found.beats_single


def test_copies_of_one_network_are_no_ensemble() -> None:
    probabilities_mnk, labels_n = _answers(np.random.default_rng(0), 1, 100, skill=1.5)
    found = select(np.repeat(probabilities_mnk, 3, axis=0), labels_n, list(range(100)))
    assert len(found.members) == 1
    assert found.gain is None
    assert not found.beats_single


@given(seeds)
def test_noise_seldom_passes_for_a_gain(seed: int) -> None:
    """Selected and judged on the same photos, noise around one network looks like a gain; cross-fitted it must not be
    certain: a gain whose interval is above 0 has to be one on photos that did not select it."""
    rng = np.random.default_rng(seed)
    probabilities_mnk, labels_n = _answers(rng, 2, 60, skill=1.0)
    found = select(probabilities_mnk, labels_n, (np.arange(60) // 3).tolist())
    if found.gain is not None:
        assert found.gain.low <= found.gain.value <= found.gain.high
        assert found.beats_single == (found.gain.low > 0)


def test_photos_of_a_bin_never_stand_on_both_sides() -> None:
    """Were they divided, a network that knows bins by heart would be selected for them."""
    rng = np.random.default_rng(1)
    probabilities_mnk, labels_n = _answers(rng, 3, 200, skill=1.0)
    one_bin = select(probabilities_mnk, labels_n, ["one"] * 200)
    assert one_bin.gain is None or one_bin.gain.low == one_bin.gain.high  # nothing to resample: a single bin
