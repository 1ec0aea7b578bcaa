"""A folder is taken when a trusted key signed it and not a byte is another one."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.errors import BundleError, UsageError
from bintally.signatures import Signed, check, inspect, sign
from bintally.signatures.digest import SIGNATURE, digest_of
from bintally.signatures.keys import read_public
from tests.signatures.folders import FILES, make_folder, make_key


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_key(tmp_path / "keys")


@pytest.fixture
def folder(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    """A signed one."""
    made = make_folder(tmp_path / "bundle")
    sign(made, keys[0])
    return made


def refused(folder: Path, *trusted: Path) -> str:
    with pytest.raises(BundleError) as error:
        check(folder, trusted)
    return error.value.message


def test_a_signed_folder_is_taken_and_says_by_whom(folder: Path, keys: tuple[Path, Path]) -> None:
    found = check(folder, [keys[1]])
    assert found is not None
    assert (found.sha256, found.files, found.problem) == (digest_of(folder), tuple(sorted(FILES)), None)
    assert [(each.id, each.trusted_as) for each in found.trusted] == [(read_public(keys[1]).id, "mara.key.pub")]


def test_without_trusted_keys_an_unsigned_folder_is_taken_unread(tmp_path: Path) -> None:
    assert check(make_folder(tmp_path / "plain")) is None
    assert check(tmp_path / "nothing") is None  # whoever opens the bundle says what is wrong


def test_with_trusted_keys_an_unsigned_folder_is_refused(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    assert "is not signed" in refused(make_folder(tmp_path / "plain"), keys[1])


def test_a_signature_of_somebody_else_is_not_enough(folder: Path, tmp_path: Path) -> None:
    _, other = make_key(tmp_path / "keys", "other.key")
    assert "by none of the trusted keys" in refused(folder, other)


def test_one_trusted_key_of_several_is_enough(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    _, other = make_key(tmp_path / "keys", "other.key")
    assert check(folder, [other, keys[1]]) is not None


def test_without_trusted_keys_a_signature_still_tells_damage(folder: Path) -> None:
    assert check(folder) is not None
    make_folder(folder, {"model.onnx": b"other"})
    assert "changed: model.onnx" in refused(folder)


def test_what_is_changed_missing_and_extra_is_told(folder: Path, keys: tuple[Path, Path]) -> None:
    make_folder(folder, {"model.onnx": b"other", "model.onnx.gz": b"it would be taken first"})
    (folder / "maps" / "empty").unlink()
    found = inspect(folder, [keys[1]])
    assert (found.changed, found.missing, found.extra) == (("model.onnx",), ("maps/empty",), ("model.onnx.gz",))
    assert refused(folder, keys[1]).endswith("changed: model.onnx; missing: maps/empty; not signed: model.onnx.gz.")


def test_many_differences_stay_one_sentence(folder: Path) -> None:
    make_folder(folder, {f"more{number}": b"" for number in range(5)})
    assert "not signed: more0, more1, more2 and 2 more." in refused(folder)


def edited(folder: Path, **changes: object) -> Path:
    told = json.loads((folder / SIGNATURE).read_text())
    (folder / SIGNATURE).write_text(json.dumps(told | changes))
    return folder


def test_the_name_of_a_key_proves_nothing(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    _, other = make_key(tmp_path / "keys", "other.key")
    [signature] = json.loads((folder / SIGNATURE).read_text())["signatures"]
    edited(folder, signatures=[signature | {"keyid": read_public(other).id}])
    assert "none of the trusted keys" in refused(folder, other)
    assert check(folder, [keys[1]]) is not None
    edited(folder, signatures=[{"sig": signature["sig"]}])
    assert check(folder, [keys[1]]) is not None


def test_a_signature_of_another_kind_of_payload_is_refused(folder: Path, keys: tuple[Path, Path]) -> None:
    edited(folder, payloadType="text/plain")
    assert "none of the trusted keys" in refused(folder, keys[1])
    assert "no in-toto statement" in refused(folder)


def test_an_envelope_that_nobody_signed_is_refused(folder: Path, keys: tuple[Path, Path]) -> None:
    edited(folder, signatures=[])
    assert "signed by nobody" in refused(folder, keys[1])


def test_a_broken_envelope_is_refused_whether_keys_are_trusted_or_not(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / SIGNATURE).write_bytes((folder / SIGNATURE).read_bytes()[:-40])
    for trusted in ((), (keys[1],)):
        assert "no DSSE envelope" in refused(folder, *trusted)


def test_a_signature_of_another_folder_is_refused(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other", {"card.json": b"{}"})
    sign(other, keys[0])
    shutil.copy(other / SIGNATURE, folder / SIGNATURE)
    assert "changed: card.json" in refused(folder, keys[1])


def test_a_trusted_key_that_is_none_is_told(folder: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="no public key"):
        check(folder, [keys[0]])


def places() -> list[tuple[str, int]]:
    return [(name, place) for name, data in FILES.items() for place in range(len(data))]


@pytest.mark.parametrize("what", ["flipped", "inserted", "cut"])
@settings(max_examples=60)
@given(data=st.data())
def test_a_change_of_one_byte_in_any_file_is_found(
    tmp_path_factory: pytest.TempPathFactory, what: str, data: st.DataObject
) -> None:
    name, place = data.draw(st.sampled_from(places()))
    bit = data.draw(st.integers(0, 7))
    folder = make_folder(tmp_path_factory.mktemp("one-byte"))
    key, public = _SIGNER(tmp_path_factory)
    sign(folder, key)
    _change(folder / name, place, bit, what)
    found = inspect(folder, [public])
    assert found.changed == (name,)
    assert found.problem is not None
    shutil.rmtree(folder)


@settings(max_examples=60)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_change_of_one_bit_of_the_envelope_never_makes_it_speak_of_other_files(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    folder = make_folder(tmp_path_factory.mktemp("one-bit"))
    key, public = _SIGNER(tmp_path_factory)
    sign(folder, key)
    size = (folder / SIGNATURE).stat().st_size
    _change(folder / SIGNATURE, place % size, bit, "flipped")
    found = inspect(folder, [public])
    assert found.problem is not None or _is_whole(found)
    shutil.rmtree(folder)


def _is_whole(found: Signed) -> bool:
    """A flipped bit in white space, or in a name that proves nothing, leaves the signature as good as it was."""
    return bool(found.trusted) and not (found.changed or found.missing or found.extra)


def _change(path: Path, place: int, bit: int, what: str) -> None:
    data = bytearray(path.read_bytes())
    if what == "flipped":
        data[place] ^= 1 << bit
    elif what == "inserted":
        data.insert(place, bit)
    else:
        del data[place]
    path.write_bytes(data)


class _Signer:
    """One pair of keys for all examples."""

    def __init__(self) -> None:
        self._made: tuple[Path, Path] | None = None

    def __call__(self, factory: pytest.TempPathFactory) -> tuple[Path, Path]:
        self._made = self._made or make_key(factory.mktemp("keys"))
        return self._made


_SIGNER = _Signer()
