"""A robot's stops: when, at which bin, with which photo. All of it follows from the seed and the robot's number.

Stops are due at moments that are drawn beforehand, whether earlier photos are answered or not: an open loop. A closed
one, which waits for an answer before it sends the next photo, would send least while the service is slowest and hardly
see it (coordinated omission: Gil Tene, "How NOT to Measure Latency"; wrk2 measures as it is done here,
https://github.com/giltene/wrk2).
"""

import random
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from bintally.simulation.robots.settings import FleetSettings, Mix

Kind: TypeAlias = Literal["usual", "duplicate", "late", "batch", "damaged", "dropout"]

LATE_S: Final = 3600.0
_AWAY_S: Final = (0.1, 2.0)  # how long a dropout lasts


class Taken(msgspec.Struct, frozen=True):
    """One photo: seconds after the start at which it was taken (below 0: before), the bin, and which of the pool's."""

    taken_s: float
    bin: int
    picture: int


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """What a robot sends at once, `due_s` seconds after the start; more than one photo only in a batch."""

    due_s: float
    kind: Kind
    photos: tuple[Taken, ...]
    away_s: float = 0.0  # how long the connection is gone, in a dropout


def route(robot: int, settings: FleetSettings, *, pictures: int) -> Iterator[Stop]:
    """The stops of one robot, in order; `pictures` is the pool's size."""
    chance = random.Random(f"{settings.seed}/{robot}")
    bins = max(len(settings.bins), 1)
    moment = -chance.uniform(0, settings.every_s) if settings.travel == "fixed" else 0.0
    while True:
        kind = _kind(chance, settings.mix)
        photos: list[Taken] = []
        for _ in range(settings.mix.batch_photos if kind == "batch" else 1):
            moment += settings.every_s if settings.travel == "fixed" else chance.expovariate(1 / settings.every_s)
            taken_s = moment - LATE_S if kind == "late" else moment
            photos.append(Taken(taken_s, chance.randrange(bins), chance.randrange(pictures)))
        away_s = chance.uniform(*_AWAY_S) if kind == "dropout" else 0.0
        if moment >= settings.seconds:
            return
        yield Stop(due_s=moment, kind=kind, photos=tuple(photos), away_s=away_s)


def photos_of(settings: FleetSettings, *, pictures: int) -> int:
    """How many photos the whole fleet takes."""
    return sum(
        len(stop.photos) for robot in range(settings.robots) for stop in route(robot, settings, pictures=pictures)
    )


def _kind(chance: random.Random, mix: Mix) -> Kind:
    shares: dict[Kind, float] = {
        "duplicate": mix.duplicates,
        "late": mix.late,
        "batch": mix.batches / mix.batch_photos,
        "damaged": mix.damaged,
        "dropout": mix.dropouts,
    }
    stops_a_photo = 1 - mix.batches + shares["batch"]  # shares are of photos, and a batch is one stop
    drawn = chance.random() * stops_a_photo
    for kind, share in shares.items():
        drawn -= share
        if drawn < 0:
            return kind
    return "usual"
