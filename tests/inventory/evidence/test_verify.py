"""A change of one byte is found, wherever it is; and nothing is claimed that nobody vouches for."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from bintally.artifacts import sha256_of
from bintally.errors import UsageError
from bintally.inventory.evidence.export import ExportReport
from bintally.inventory.evidence.verify import VerifyReport, verify_evidence
from bintally.inventory.ledger import Ledger
from bintally.signatures import sign
from bintally.signatures.digest import digest_of
from bintally.signatures.statement import statement_of
from tests.databases import new_ledger
from tests.inventory.evidence.conftest import Site
from tests.inventory.evidence.corrections import corrected, exported, files_of
from tests.inventory.review.desks import decided, opened
from tests.signatures.folders import make_key

SIGNATURE = "signature.dsse.json"


class Bundles:
    """The same correction in a folder, in a zip, and signed in both; and the key that is trusted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key, self.trusted = make_key(folder / "keys")
        with new_ledger(folder / "ledger.sqlite") as ledger:
            site = Site(ledger, folder)
            site.tell()
            how: dict[str, Any] = {"decision": site.decision}
            self.report: ExportReport = exported(ledger, folder / "plain", **how)
            for name, zipped, key in (
                ("plain.zip", True, None),
                ("signed", False, self.key),
                ("signed.zip", True, self.key),
            ):
                told = exported(ledger, folder / name, zipped=zipped, key=key, **how)
                assert told.sha256 == self.report.sha256, "a signature changes nothing that it signs"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    return Bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def copy(bundles: Bundles, tmp_path: Path) -> Iterator[Path]:
    """The unsigned folder, elsewhere."""
    yield Path(shutil.copytree(bundles.folder / "plain", tmp_path / "copy"))


def flipped(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)


flips = (st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 7))


@given(*flips)
@hypothesis_settings(max_examples=60)
def test_one_byte_in_a_folder_is_found_and_its_file_is_named(bundles: Bundles, which: int, at: int, bit: int) -> None:
    folder = bundles.folder / "signed"
    names = sorted(files_of(folder))
    name = names[which % len(names)]
    before = (folder / name).read_bytes()
    flipped(folder / name, at, bit)
    try:
        found = verify_evidence(bundle=folder, trust=[bundles.trusted])
    finally:
        (folder / name).write_bytes(before)
    assert found.outcome == "broken"
    assert found.vouched_by == ()
    assert (
        name in found.changed
        or any(name in problem for problem in found.problems)
        or (name == SIGNATURE and any("none of the trusted" in problem for problem in found.problems))
    )


@given(*flips)
@hypothesis_settings(max_examples=40)
def test_one_byte_in_an_unsigned_folder_is_found_without_anything_else(
    bundles: Bundles, which: int, at: int, bit: int
) -> None:
    folder = bundles.folder / "plain"
    names = sorted(files_of(folder))
    name = names[which % len(names)]
    before = (folder / name).read_bytes()
    flipped(folder / name, at, bit)
    try:
        found = verify_evidence(bundle=folder)
    finally:
        (folder / name).write_bytes(before)
    assert (found.outcome, found.changed) == ("broken", (name,))


@given(st.sampled_from(["plain.zip", "signed.zip"]), st.integers(0, 2**31), st.integers(0, 7))
@hypothesis_settings(max_examples=60)
def test_one_byte_in_a_zip_is_found(bundles: Bundles, name: str, at: int, bit: int) -> None:
    file = bundles.folder / name
    before = file.read_bytes()
    flipped(file, at, bit)
    trust = [bundles.trusted] if name == "signed.zip" else []
    try:
        assert verify_evidence(bundle=file, trust=trust).outcome == "broken"
    finally:
        file.write_bytes(before)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["signed", "plain.zip"])
def test_every_byte_there_is(bundles: Bundles, name: str) -> None:
    place = bundles.folder / name
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        before = path.read_bytes() if path.is_file() else b""
        for at in range(0, len(before), 1 if len(before) < 20_000 else 7):
            flipped(path, at, at % 8)
            found = verify_evidence(bundle=place, trust=[bundles.trusted] if name == "signed" else [])
            assert found.outcome == "broken", f"byte {at} of {path.name}"
            path.write_bytes(before)


@pytest.mark.parametrize("name", ["plain", "plain.zip"])
def test_nobody_vouches_for_what_only_agrees_with_itself(bundles: Bundles, name: str) -> None:
    found = verify_evidence(bundle=bundles.folder / name)
    assert (found.outcome, found.problems, found.vouched_by) == ("unvouched", (), ())
    assert "only shows that it agrees with itself" in found.unchecked[0]
    assert "--ledger" in found.unchecked[1]


@pytest.mark.parametrize("name", ["plain", "plain.zip", "signed", "signed.zip"])
def test_the_digest_vouches(bundles: Bundles, name: str) -> None:
    found = verify_evidence(bundle=bundles.folder / name, expect=f" {bundles.report.sha256.upper()}\n")
    assert (found.outcome, found.sha256) == ("vouched", bundles.report.sha256)
    other = verify_evidence(bundle=bundles.folder / name, expect="0" * 64)
    assert other.outcome == "broken"
    assert bundles.report.sha256 in other.problems[0]


def test_the_digest_can_be_made_by_anybody(bundles: Bundles) -> None:
    assert digest_of(bundles.folder / "plain") == bundles.report.sha256


@pytest.mark.parametrize("name", ["signed", "signed.zip"])
def test_a_trusted_key_vouches_elsewhere_without_the_ledger(bundles: Bundles, name: str, tmp_path: Path) -> None:
    source = bundles.folder / name
    moved = tmp_path / "other machine" / name
    moved.parent.mkdir()
    shutil.copytree(source, moved) if source.is_dir() else shutil.copy(source, moved)
    found = verify_evidence(bundle=moved, trust=[bundles.trusted])
    assert found.outcome == "vouched"
    assert "mara.key.pub" in found.vouched_by[0]
    _, stranger = make_key(tmp_path / "keys", "stranger.key")
    refused = verify_evidence(bundle=moved, trust=[stranger])
    assert (refused.outcome, "none of the trusted keys" in refused.problems[0]) == ("broken", True)
    assert verify_evidence(bundle=moved, trust=[stranger, bundles.trusted]).outcome == "vouched"
    alone = verify_evidence(bundle=moved)
    assert alone.outcome == "unvouched", "a signature that nobody can check vouches for nothing"
    assert any("--trust" in sentence and "signature of" in sentence for sentence in alone.unchecked)


def test_an_unsigned_bundle_is_refused_where_a_signature_is_asked_for(bundles: Bundles) -> None:
    found = verify_evidence(bundle=bundles.folder / "plain", trust=[bundles.trusted], expect=bundles.report.sha256)
    assert (found.outcome, found.problems, found.vouched_by) == ("broken", ("It is not signed.",), ())


def test_missing_and_extra_files_are_named(copy: Path) -> None:
    photo = next(copy.rglob("*.bmp"))
    photo.unlink()
    (copy / "corrections" / "9.json").write_text("{}")
    found = verify_evidence(bundle=copy)
    assert (found.missing, found.extra) == ((photo.relative_to(copy).as_posix(),), ("corrections/9.json",))
    (copy / "manifest.json").unlink()
    assert "manifest.json" in verify_evidence(bundle=copy).missing


def test_a_link_is_no_file(copy: Path) -> None:
    (copy / "photos" / "link").symlink_to("/etc/passwd")
    found = verify_evidence(bundle=copy)
    assert (found.outcome, "is a link" in found.problems[0]) == ("broken", True)


def made_anew(folder: Path) -> None:
    """What a forger does: a manifest that fits."""
    files = {name: sha256_of(folder / name) for name in files_of(folder) if name not in ("manifest.json", SIGNATURE)}
    (folder / "manifest.json").write_bytes(statement_of(files))


def test_a_forger_who_makes_the_manifest_anew_is_found_by_whoever_knows_more(bundles: Bundles, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundles.folder / "signed", tmp_path / "forged"))
    [told] = list((folder / "corrections").iterdir())
    told.write_text(told.read_text().replace('"expected_count": 3.0', '"expected_count": 9.0'))
    made_anew(folder)
    assert verify_evidence(bundle=folder, expect=bundles.report.sha256).outcome == "broken"
    by_key = verify_evidence(bundle=folder, trust=[bundles.trusted])
    assert by_key.changed == ("corrections/1.json", "manifest.json")
    (folder / SIGNATURE).unlink()
    alone = verify_evidence(bundle=folder)
    assert (alone.outcome, "agrees with itself" in alone.unchecked[0]) == ("unvouched", True)
    with Ledger.open(bundles.folder / "ledger.sqlite") as ledger:
        held = verify_evidence(bundle=folder, ledger=ledger)
    assert _broken(held, "tells of no export of this bundle")


def test_a_trusted_key_does_not_hide_that_the_ledger_knows_nothing(bundles: Bundles, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundles.folder / "plain", tmp_path / "forged"))
    [told] = list((folder / "corrections").iterdir())
    told.write_text(told.read_text().replace('"expected_count": 3.0', '"expected_count": 9.0'))
    made_anew(folder)
    sign(folder, bundles.key)
    assert verify_evidence(bundle=folder, trust=[bundles.trusted]).outcome == "vouched"
    with Ledger.open(bundles.folder / "ledger.sqlite") as ledger:
        held = verify_evidence(bundle=folder, trust=[bundles.trusted], ledger=ledger)
    assert _broken(held, "tells of no export of this bundle")
    assert held.vouched_by == ()


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A ledger that many notes are written into."""
    folder = tmp_path_factory.mktemp("noted")
    with new_ledger(folder / "ledger.sqlite") as ledger:
        yield Site(ledger, folder)


words = st.sampled_from(["password", "token", "Basic ", "https://", "hunter2", "@", *"\"'\\\n:= {"])
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=3)


@given(st.lists(words | texts, max_size=12).map("".join))
@example('set password="hunter2" please')
@example("token=\nnothing to see")
@hypothesis_settings(max_examples=20)
def test_every_fresh_export_verifies_whatever_was_noted(noted: Site, note: str) -> None:
    with noted.ledger.write() as connection:
        noted.world.connection = connection
        review_id = opened(noted.world, noted.world.case(f"N-{next(noted.world.serial)}"))
        assert review_id is not None
        made = decided(noted.world, review_id, "rita", "correct", 3, note=note)
    with TemporaryDirectory() as place:
        out = Path(place) / "out"
        exported(noted.ledger, out, decision=made.decision_id)
        assert verify_evidence(bundle=out).outcome == "unvouched"
        assert verify_evidence(bundle=out, ledger=noted.ledger).outcome == "vouched"


def test_a_forged_line_of_the_log_does_not_fit_its_hash(copy: Path) -> None:
    told = copy / "corrections" / "1.json"
    plain = json.loads(told.read_text())
    plain["audit"][2]["actor"] = "somebody"
    told.write_text(json.dumps(plain))
    made_anew(copy)
    found = verify_evidence(bundle=copy)
    assert found.outcome == "broken"
    assert found.problems == ("corrections/1.json: line 11 of the audit log does not fit its hash",)


def test_photos_and_policies_must_be_those_that_are_named(copy: Path) -> None:
    next(copy.rglob("*.bmp")).write_bytes(b"another")
    next((copy / "policies").iterdir()).write_text("{}")
    made_anew(copy)
    problems = verify_evidence(bundle=copy).problems
    assert [problem.rpartition(" ")[0].startswith("corrections/1.json: its p") for problem in problems] == [True, True]


def test_a_bundle_that_leads_elsewhere_is_not_followed(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text((copy / "corrections" / "1.json").read_text())
    contents = json.loads((copy / "evidence.json").read_text())
    contents["corrections"][0]["file"] = "../outside.json"
    (copy / "evidence.json").write_text(json.dumps(contents))
    made_anew(copy)
    assert verify_evidence(bundle=copy).problems == ("evidence.json: its ../outside.json is not there",)


def test_a_newer_format_is_said_to_be_one(copy: Path) -> None:
    contents = json.loads((copy / "evidence.json").read_text()) | {"format": "bintally evidence 2"}
    (copy / "evidence.json").write_text(json.dumps(contents))
    made_anew(copy)
    found = verify_evidence(bundle=copy)
    assert (found.outcome, "bintally evidence 2" in found.problems[0]) == ("broken", True)


def test_the_ledger_vouches_and_tells_who_exported_it(site: Site, tmp_path: Path) -> None:
    site.tell()
    exported(site.ledger, tmp_path / "out", decision=site.decision)
    with site.ledger.write() as connection:
        site.world.connection = connection
        corrected(site.world, "A-9")  # the ledger goes on
    found = verify_evidence(bundle=tmp_path / "out", ledger=site.ledger)
    assert (found.outcome, found.problems, found.unchecked) == ("vouched", (), ())
    assert "vera exported it" in found.vouched_by[0]


def test_a_ledger_whose_log_was_changed_is_found_out(file_site: Site, tmp_path: Path) -> None:
    exported(file_site.ledger, tmp_path / "out", decision=file_site.decision)
    with file_site.ledger.write() as connection:
        for (name,) in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("UPDATE audit SET actor = 'nobody', hash = '0' WHERE action = 'review.approve'"))
    found = verify_evidence(bundle=tmp_path / "out", ledger=file_site.ledger)
    assert _broken(found, "does not hold", "is another one")


def test_another_ledger_is_not_the_one(file_site: Site, tmp_path: Path) -> None:
    exported(file_site.ledger, tmp_path / "out", decision=file_site.decision)
    with new_ledger(tmp_path / "other.sqlite") as other:
        assert _broken(verify_evidence(bundle=tmp_path / "out", ledger=other), "is not there", "is another one")


def _broken(found: VerifyReport, *says: str) -> bool:
    problems = " ".join(found.problems)
    return found.outcome == "broken" and all(word in problems for word in says)


def test_a_zip_that_was_packed_otherwise_is_told_apart_from_what_is_in_it(bundles: Bundles, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundles.folder / "plain.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert verify_evidence(bundle=tmp_path / "unpacked", expect=bundles.report.sha256).outcome == "vouched"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "again.zip", "w", method) as archive:
            for name, data in files_of(tmp_path / "unpacked").items():
                archive.writestr(name, data)
        found = verify_evidence(bundle=tmp_path / "again.zip", expect=bundles.report.sha256)
        assert found.outcome == "broken"


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "a\\..\\out.txt", "folder/"])
def test_a_zip_unpacks_nowhere_else(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"out")
    found = verify_evidence(bundle=tmp_path / "evil.zip")
    assert (found.outcome, "was not packed by bintally" in found.problems[0]) == ("broken", True)
    assert not (tmp_path / "out.txt").exists()


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bundle"):
        verify_evidence(bundle=tmp_path / "nothing")
    with pytest.raises(UsageError, match="no digest"):
        verify_evidence(bundle=tmp_path, expect="abc")
    (tmp_path / "empty").mkdir()
    assert verify_evidence(bundle=tmp_path / "empty").missing == ("manifest.json",)
    (tmp_path / "text.zip").write_text("no zip")
    assert verify_evidence(bundle=tmp_path / "text.zip").outcome == "broken"
