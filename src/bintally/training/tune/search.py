"""The `search` verb: architectures and ways to train them, under a budget of minutes; the best one exported.

```
OUT/search.json                  what is known so far; a killed search goes on from it
OUT/trials/NN/                   one run each
OUT/leaderboard.csv, .json       every network with its figures
OUT/search.html                  the same to look at, and who used the time
OUT/bundle/                      the winner
OUT/test/                        how it does on test, with `test`
```
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bintally.artifacts import fingerprint
from bintally.errors import BintallyError, ConfigError, TrainingError, UsageError
from bintally.progress import SILENT, Progress
from bintally.settings import cpu_count
from bintally.training.cache import PhotoCache
from bintally.training.plan import Plan
from bintally.training.recipe import NetworkSettings, Recipe
from bintally.training.tune.on_ray import RayRunner
from bintally.training.tune.processes import ProcessRunner
from bintally.training.tune.search_finish import Finish
from bintally.training.tune.search_presets import PRESETS, Preset
from bintally.training.tune.search_probe import probe
from bintally.training.tune.search_recipes import cache_px, default_recipe, named, network_of
from bintally.training.tune.search_report import SearchConfig, SearchReport, read_report
from bintally.training.tune.search_rungs import Climb
from bintally.training.tune.search_state import STATE, WAITING, Clock, LeftOut, SearchState, read_state
from bintally.training.tune.trial import Runner

_MOST_WAITING: Final = 8.0


def search(
    *,
    data: Path | str,
    out: Path | str,
    minutes: float,
    preset: str = "balanced",
    counts: str | None = None,
    recipe: Recipe | Path | None = None,
    backbones: Sequence[str] = (),
    parallel: int = 1,
    threads: int | None = None,
    seed: int | None = None,
    test: bool = False,
    fresh: bool = False,
    start_s: float = 10.0,
    progress: Progress = SILENT,
    runner: Runner | None = None,
    on: str = "",
) -> SearchReport:
    """Finds the best counter that can be trained within `minutes`, and exports it to OUT/bundle.

    `recipe` says all but architecture, sides, augmentation and length; its own network joins the preset's. `counts` are
    those trained on and asked about. A killed search goes on where it was, on the time that is left. `on` names
    a Ray cluster that trains, "ray" or "ray://host:port"; speeds are measured on this machine, and networks exported
    here. `runner` is another who trains (default: processes of this machine), and `start_s` what a trial's start takes
    until it is measured.

    Raises:
        ConfigError: an unknown preset or architecture, a setting out of range.
        TrainingError: none of the networks can be had, or none could be trained in this time.
        CheckpointError: `out` holds another search.
        ManifestError: `data` has no split.
        UsageError: there is no Ray cluster to be reached.
        MissingExtraError: `on`, and Ray is not installed.
    """
    values = {
        "data": Path(data),
        "out": Path(out).resolve(),
        "minutes": minutes,
        "preset": preset,
        "backbones": tuple(backbones),
        "parallel": parallel,
        "threads": threads,
        "test": test,
        "fresh": fresh,
        "start_s": start_s,
        "on": on,
    }
    config = SearchConfig.of(values)
    base = _base(recipe, counts, seed)
    own = runner or (RayRunner(config.on) if config.on else ProcessRunner())
    try:
        return _search(config, base, recipe is not None, own, progress)
    finally:
        own.close()


def _base(recipe: Recipe | Path | None, counts: str | None, seed: int | None) -> Recipe:
    base = default_recipe(counts) if recipe is None else recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    if base.network.tells:
        raise UsageError("A search is for counters alone.", hint="Leave out network.tells.")
    values: dict[str, Any] = base.model_dump(mode="json")
    if counts is not None:
        values["counts"] = counts
        values["evaluate"]["counts"] = None
    if seed is not None:
        values["seed"] = seed
    return Recipe.of(values)


def _search(config: SearchConfig, base: Recipe, own_network: bool, runner: Runner, progress: Progress) -> SearchReport:
    preset = PRESETS[config.preset]
    plan = Plan.of(base, config.data)
    state = _claim(config, base, plan)
    clock = Clock(config.out, state)
    finish = Finish(config=config, base=base, plan=plan, clock=clock, progress=progress)
    done = read_report(config.out) if state.ended else None
    if done is not None and done.minutes >= config.minutes and (done.test is not None or not config.test):
        return done
    state.ended = False
    with clock.ticking():
        names = list(dict.fromkeys([*([named(base.network)] if own_network else []), *preset.backbones]))
        networks = _networks(list(config.backbones) or names, base, clock, progress)
        _decode(preset, plan, clock, progress)
        threads = config.threads or cpu_count()
        networks = _probed(networks, base, plan, clock, threads // config.parallel or 1)
        climb = Climb(
            base=base,
            preset=preset,
            networks=networks,
            plan=plan,
            out=config.out,
            clock=clock,
            runner=runner,
            threads=threads,
            parallel=config.parallel,
            progress=progress,
        )
        climb.rungs(finish.training_until)
        climb.rest(finish.training_until)
        runner.close()  # its memory and its threads are export's now
        return finish.run()


def _claim(config: SearchConfig, base: Recipe, plan: Plan) -> SearchState:
    """The state of an earlier start of this search, or of a new one."""
    told = base.model_dump(mode="json")
    identity = fingerprint([told, plan.dataset, config.preset, config.backbones])
    if config.fresh and (config.out / STATE).is_file():
        shutil.rmtree(config.out)
    state = read_state(config.out, identity) or SearchState(identity=identity, overhead_s=config.start_s)
    state.rungs = len(PRESETS[config.preset].rungs)
    return state


def _networks(names: Sequence[str], base: Recipe, clock: Clock, progress: Progress) -> dict[str, NetworkSettings]:
    """The networks whose weights can be had, by name; the others are told, and kept for the leaderboard."""
    found: dict[str, NetworkSettings] = {}
    left_out = []
    with clock.spending("looking for weights"):
        for name in names:
            try:
                found[name] = network_of(name, base)
            except ConfigError:
                raise
            except BintallyError as error:
                left_out.append(LeftOut(name, error.message))
                progress.say(f"  {name} is left out: {error.message}")
    clock.state.left_out = left_out
    _some(found, left_out)
    return found


def _some(found: dict[str, NetworkSettings], left_out: Sequence[LeftOut]) -> None:
    if not found:
        raise TrainingError(
            f"None of the networks can be had: {', '.join(out.backbone for out in left_out)}.",
            hint="Set $BINTALLY_WEIGHTS to a folder of weights, or name a recipe whose network.weights are there.",
        )


def _decode(preset: Preset, plan: Plan, clock: Clock, progress: Progress) -> None:
    """Photos as all layers are trained from, decoded once for all trials."""
    with clock.spending("decoding photos"):
        PhotoCache.build(plan.data, plan.train, px=cache_px(preset), progress=progress)


def _probed(
    networks: dict[str, NetworkSettings], base: Recipe, plan: Plan, clock: Clock, threads: int
) -> dict[str, NetworkSettings]:
    """The networks that count at all here; their speeds go to the state."""
    state, kept = clock.state, {}
    wall_s, processor_s = clock.used(), time.process_time()
    for name, network in networks.items():
        if f"{name} look" not in state.speeds:
            try:
                with clock.spending(f"measuring {name}"):
                    speed, layers = probe(network, len(plan.keys), threads=threads, precision=base.loop.precision)
            except BintallyError as error:
                state.left_out = [*state.left_out, LeftOut(name, error.message)]
                continue
            measured = {f"{name} look": speed.look, f"{name} train": speed.train, f"{name} layers": float(layers)}
            state.speeds = {**state.speeds, **measured}
        kept[name] = network
    waiting = threads * (clock.used() - wall_s) / max(time.process_time() - processor_s, 1e-3)
    if WAITING not in state.speeds:
        state.speeds = {**state.speeds, WAITING: min(max(waiting, 1.0), _MOST_WAITING)}
        state.overhead_s *= state.speeds[WAITING]
    clock.save()
    _some(kept, state.left_out)
    return kept
