"""One photo and nothing else: the quick way says bit by bit what the filter says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bintally.counting.events import Photo
from bintally.counting.follow_settings import FollowSettings
from bintally.inventory.judging.beliefs import followed
from bintally.inventory.judging.single_photo import single_photos
from bintally.records import COUNT_KEYS

shares = st.lists(st.floats(0.0, 1.0, width=32), min_size=7, max_size=7).filter(lambda each: sum(each) > 1e-3)
priors = st.lists(st.floats(0.01, 1.0), min_size=7, max_size=7)


@given(
    st.lists(st.tuples(shares, st.integers(0, 1)), min_size=1, max_size=12),
    st.tuples(priors, priors),
    st.sampled_from([6, 12, 30]),
    st.sampled_from([0.0, 0.005, 0.2]),
)
def test_it_is_exactly_what_history_says(
    answers: list[tuple[list[float], int]], mixes: tuple[list[float], list[float]], top: int, misleading: float
) -> None:
    settings = FollowSettings(max_count=top, misleading=misleading, start={"2": 0.5, "3": 0.3, "6+": 0.2})
    photos = [
        Photo(
            time=place,
            id=str(place),
            probabilities=dict(zip(COUNT_KEYS, answer, strict=True)),
            prior=dict(zip(COUNT_KEYS, mixes[mix], strict=True)),
        )
        for place, (answer, mix) in enumerate(answers)
    ]
    told_nc, prior_nc = single_photos(photos, settings)
    for photo, told_c, prior_c in zip(photos, told_nc, prior_nc, strict=True):
        slow, blind, reason = followed([photo], settings)
        assert reason is None
        assert np.array_equal(told_c, slow)
        assert np.array_equal(prior_c, blind)


def test_no_photos_at_all() -> None:
    told_nc, prior_nc = single_photos([], FollowSettings(max_count=9))
    assert told_nc.shape == prior_nc.shape == (0, 10)
