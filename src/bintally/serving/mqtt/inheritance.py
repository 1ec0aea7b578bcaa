"""What a process leaves behind that is gone: photos that the broker keeps for it, and more that it goes on giving it.

A shared subscription gives each member its share, also those that are away. So whoever is there takes over the names of
those who are not (fewer workers were started, or one crashed): leaves the group in their name, counts what the broker
has for them, and has them forgotten.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bintally.errors import StorageError
from bintally.serving.mqtt.connection import Connection
from bintally.serving.mqtt.slots import Slot, left_slot

LOOK_EVERY_S: Final = 15.0
"""Also the time that a restarted worker has to come back for its own."""

QUIET_S: Final = 3.0
"""When nothing came for so long, the broker has nothing more."""

_PATIENCE_S: Final = 600.0  # then it is tried again later
_log = logging.getLogger(__name__)


async def inherit(
    folder: Path, connect: Callable[[str], Connection], forget: Callable[[str], None], *, every_s: float = LOOK_EVERY_S
) -> None:
    """Goes on for ever. `connect` makes a connection that leaves in a name's place, `forget` is told of its end."""
    while True:
        await asyncio.sleep(every_s)
        try:
            with left_slot(folder) as slot:
                if slot is not None and await _emptied(slot, connect):
                    slot.give_up()
                    forget(slot.name)
        except StorageError as error:
            _log.warning("MQTT: names in %s can't be looked at: %s", folder, error.message)
        except Exception:  # else nobody would ever look again
            _log.exception("MQTT: what a process left behind can't be taken over just now.")


async def _emptied(slot: Slot, connect: Callable[[str], Connection]) -> bool:
    connection = connect(slot.name)
    connection.start()
    is_empty = False
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not (is_empty := connection.is_empty(QUIET_S)):
                await asyncio.sleep(QUIET_S / 10)
        _log.info("MQTT: took over what was left for %s", slot.name)
    except TimeoutError:
        pass
    finally:
        await connection.stop(forget=is_empty)
    return is_empty
