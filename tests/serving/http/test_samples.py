from pathlib import Path

import pytest

from bintally.errors import UsageError
from bintally.serving.http.samples import SHOWN, Sample, Samples
from tests.bundles import bin_photo


def test_the_photos_of_a_folder_with_their_records(samples: Path) -> None:
    assert Samples(samples).all() == (Sample("00001.jpg", 1), Sample("00002.jpg", None), Sample("00009.jpg", 9))


def test_a_sample_is_the_photo_itself(samples: Path) -> None:
    photo = (samples / "bin-images" / "00002.jpg").read_bytes()
    assert Samples(samples).photo("00002.jpg") == (photo, "image/jpeg")


@pytest.mark.parametrize("name", ["notes.txt", "../labels.csv", "/etc/passwd", "", "00002"])
def test_nothing_but_the_samples_listed_can_be_had(samples: Path, name: str) -> None:
    assert Samples(samples).photo(name) is None


def test_of_many_photos_a_few_are_shown_spread_over_all(tmp_path: Path) -> None:
    for index in range(100):
        (tmp_path / f"{index:03}.png").write_bytes(bin_photo(1, height_px=8, width_px=8))
    names = [sample.name for sample in Samples(tmp_path).all()]
    assert len(names) == SHOWN
    assert names[0] == "000.png"
    assert names[-1] >= "080.png"


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no photo"):
        Samples(tmp_path)
    with pytest.raises(UsageError, match="can't be read"):
        Samples(tmp_path / "gone")


def test_without_a_folder_the_project_renders_its_own() -> None:
    samples = Samples()
    listed = samples.all()
    assert len(listed) == SHOWN
    assert all(sample.recorded_count is not None for sample in listed)
    photo, kind = samples.photo(listed[0].name) or (b"", "")
    assert kind == "image/jpeg"
    assert photo.startswith(b"\xff\xd8\xff")
    assert samples.all() is listed
