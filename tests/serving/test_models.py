"""Models come and go while requests are answered."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bintally.bundle import CARD
from bintally.counting.counter import Counter
from bintally.errors import BundleError, RequestError
from bintally.serving.asked import Asked
from bintally.serving.engine.batching import BatchingEngine
from bintally.serving.engine.engine import Engine
from bintally.serving.models import Models
from tests.bundles import bin_photo, make_bundle
from tests.serving.engine.engines import until


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    """The bundle of a service that is running: it may be replaced or damaged."""
    return Path(shutil.copytree(bundle, tmp_path / "model"))


def make(counter: Counter) -> Engine:
    return BatchingEngine(counter, threads=1)


def with_models(folder: Path, use: Callable[[Models], Awaitable[Any]]) -> Any:
    """What `use` returns, of models that are closed afterwards."""

    async def used() -> Any:
        models = Models(folder, make, threads=1)
        try:
            return await use(models)
        finally:
            await models.close()

    return asyncio.run(used())


def refusal(error: BaseException) -> tuple[int, str]:
    assert isinstance(error, RequestError)
    return error.status, error.code


def test_no_request_fails_while_the_model_is_reloaded_under_load(folder: Path) -> None:
    async def use(models: Models) -> tuple[list[int | None], set[str]]:
        answers, names, reloaded = list[int | None](), set[str](), asyncio.Event()

        async def client(number: int) -> None:
            while not reloaded.is_set():
                engine = models.get(None)
                await asyncio.sleep(0.001 * (number % 3))  # the photo is fetched; meanwhile the engine may be closed
                answer = await engine.count(Asked(), bin_photo(4))
                answers.append(answer.count)
                names.add(str(answer.model))

        async with asyncio.TaskGroup() as clients:
            for number in range(8):
                clients.create_task(client(number))
            for number in range(5):
                make_bundle(folder, name=f"model-{number}")
                await models.reload()
                answered = len(answers)
                await until(lambda: len(answers) > answered + 8)  # noqa: B023
            reloaded.set()
        return answers, names

    answers, names = with_models(folder, use)
    assert set(answers) == {4}
    assert {"model-3", "model-4"} < names


def test_a_damaged_model_is_refused_and_the_old_one_goes_on(folder: Path) -> None:
    async def use(models: Models) -> None:
        before = models.default
        card = (folder / CARD).read_bytes()
        (folder / CARD).write_bytes(card[:-9])
        with pytest.raises(BundleError):
            await models.reload()
        assert models.default is before
        assert models.damaged is not None
        assert (await models.default.count(Asked(), bin_photo(2))).count == 2
        (folder / CARD).write_bytes(card)
        await models.reload()
        assert not models.damaged
        assert models.default is not before

    with_models(folder, use)


def test_two_reloads_at_once_leave_the_newest_model(folder: Path) -> None:
    async def use(models: Models) -> str:
        first = asyncio.create_task(models.reload())
        await asyncio.sleep(0)
        make_bundle(folder, name="newest")
        await asyncio.gather(first, models.reload(), return_exceptions=True)  # the first may meet half a bundle
        return models.default.card.name

    assert with_models(folder, use) == "newest"


def test_a_model_is_loaded_by_name_counts_and_goes(folder: Path, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", name="other")

    async def use(models: Models) -> None:
        await models.load("mine", other)
        assert (await models.get("mine").count(Asked(), bin_photo(3))).model == "other"
        engine = models.get("mine")
        await models.unload("mine")
        assert (await engine.count(Asked(), bin_photo(3))).count == 3, "it was taken before it went"
        with pytest.raises(RequestError) as gone:
            models.get("mine")
        assert refusal(gone.value) == (404, "no_such_model")

    with_models(folder, use)


@pytest.mark.parametrize("name", ["tiny", "default"])
def test_the_default_model_can_neither_be_hidden_nor_unloaded_by_name(folder: Path, name: str) -> None:
    async def use(models: Models) -> None:
        with pytest.raises(RequestError) as hidden:
            await models.load(name, folder)
        assert refusal(hidden.value) == (409, "model_loaded")
        with pytest.raises(RequestError) as unloaded:
            await models.unload(name)
        assert refusal(unloaded.value) == (404, "no_such_model")
        assert (await models.default.count(Asked(), bin_photo(1))).count == 1

    with_models(folder, use)


def test_one_name_loaded_twice_at_once_is_loaded_once(folder: Path) -> None:
    async def use(models: Models) -> list[Any]:
        return await asyncio.gather(*(models.load("mine", folder) for _ in range(2)), return_exceptions=True)

    loaded, refused = with_models(folder, use)
    assert isinstance(loaded, BatchingEngine)
    assert refusal(refused) == (409, "model_loaded")


def test_a_model_whose_loading_failed_can_be_loaded_again(folder: Path, tmp_path: Path) -> None:
    async def use(models: Models) -> None:
        with pytest.raises(BundleError):
            await models.load("mine", tmp_path / "none")
        await models.load("mine", folder)

    with_models(folder, use)


def test_a_model_that_is_being_loaded_when_all_are_closed_is_closed_too(folder: Path) -> None:
    async def use(models: Models) -> Any:
        loading = asyncio.create_task(models.load("mine", folder))
        await asyncio.sleep(0)
        await models.close()
        [error] = await asyncio.gather(loading, return_exceptions=True)
        return error, models.named()

    error, named = with_models(folder, use)
    assert refusal(error) == (503, "stopping")
    assert not named
