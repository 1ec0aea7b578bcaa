"""It is known which photos a model learnt from, those of the models before it too; or it is known that it is not."""

import shutil
from pathlib import Path

from bintally.registry.place import Registry
from bintally.registry.registration import register
from bintally.registry.registration.learnt import seen
from bintally.registry.versions import Version
from tests.registry.conftest import MakeBundle
from tests.registry.registration.runs import make_data, make_exported, make_run

PHOTOS = {"a": "train", "b": "val", "c": "test", "d": "train"}


def _photos(registry: Registry, version: Version) -> list[str]:
    return sorted(seen(registry, version).photos["bin_image_id"])


def test_train_and_val_of_its_split(registry: Registry, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_data(tmp_path / "data", PHOTOS))
    version = register(registry, make_exported(tmp_path / "bundle", run), by="rita", run=run).version
    found = seen(registry, version)
    assert found.is_known
    assert sorted(zip(found.photos["sha256"], found.photos["group"], found.photos["split"], strict=True)) == [
        ("a" * 8, "g-a", "train"), ("b" * 8, "g-b", "val"), ("d" * 8, "g-d", "train"),
    ]  # fmt: skip


def test_photos_of_the_model_it_started_from_and_of_its_teachers_too(local: Registry, tmp_path: Path) -> None:
    first = make_run(tmp_path / "1" / "run", make_data(tmp_path / "1" / "data", {"e": "train", "a": "test"}))
    register(local, make_exported(tmp_path / "1" / "bundle", first), by="rita", run=first)
    taught = make_run(
        tmp_path / "2" / "run", make_data(tmp_path / "2" / "data", {"f": "val"}), teacher={"runs": [str(first)]}
    )
    register(local, make_exported(tmp_path / "2" / "bundle", taught), by="rita", run=taught)
    last = make_run(tmp_path / "3" / "run", make_data(tmp_path / "3" / "data", PHOTOS), network={"start": str(taught)})
    version = register(local, make_exported(tmp_path / "3" / "bundle", last), by="rita", run=last).version
    assert seen(local, version).is_known
    assert _photos(local, version) == ["a", "b", "d", "e", "f"]


def test_what_is_not_known_is_said(local: Registry, bundle: MakeBundle, tmp_path: Path) -> None:
    alone = seen(local, register(local, bundle("a"), by="rita").version)
    assert alone.unknown == ("which photos are in the split 000000000000",)
    assert alone.photos.is_empty()
    data = make_data(tmp_path / "data", PHOTOS)
    for number, start in enumerate((str(tmp_path / "gone"), str(bundle("b")))):
        run = make_run(tmp_path / f"run-{number}", data, network={"start": start}, seed=number)
        exported = make_exported(tmp_path / f"bundle-{number}", run, name=f"tiny-{number}")
        version = register(local, exported, by="rita", run=run, data=data).version
        assert _photos(local, version) == ["a", "b", "d"]
        told = "the split 000000000000" if number else f"what {start} was trained on, which the model learnt from"
        assert told in seen(local, version).unknown[0]


def test_a_list_that_comes_later_serves_earlier_versions(local: Registry, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", PHOTOS)
    run = make_run(tmp_path / "run", data)
    first = register(local, make_exported(tmp_path / "1", run, name="one"), by="rita").version
    data.rename(tmp_path / "elsewhere")
    second = register(local, make_exported(tmp_path / "2", run, name="two"), by="rita", run=run).version
    assert not any(seen(local, version).is_known for version in (first, second))
    third = make_exported(tmp_path / "3", run, name="three")
    register(local, third, by="rita", run=run, data=tmp_path / "elsewhere")
    assert all(seen(local, version).is_known for version in (first, second))
    assert _photos(local, first) == ["a", "b", "d"]


def test_a_list_that_was_lost_is_not_taken_for_an_empty_one(local: Registry, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_data(tmp_path / "data", PHOTOS))
    version = register(local, make_exported(tmp_path / "bundle", run), by="rita", run=run).version
    [path] = local.learnt.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    assert not seen(local, version).is_known
    shutil.rmtree(local.learnt)
    assert not seen(local, version).is_known
