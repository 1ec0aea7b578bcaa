"""The shadow's process: counts what it is sent, keeps the pair, says so; ends when its service does.

It imports nothing of the service, and works on one core.
"""

import signal
import statistics
import time
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bintally.errors import BintallyError, BundleError, StorageError
from bintally.registry.shadow.pairs import SUFFIX, Begun, Pair, PairFile, Told, bytes_in, folder_of
from bintally.serving.shadow.messages import ENCODER, QUESTION, Plan, Question, Side, Word

if TYPE_CHECKING:
    from bintally.counting.counter import Counter

_SYNC_S: Final = 1.0  # a power cut loses at most the pairs of so long
_TIMED: Final = 5  # inferences of each model; their median


def run_shadow(pipe: Connection, plan: Plan) -> None:
    """The process' whole life. The first word is whether it can count."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it, too; its service ends it
    with suppress(EOFError, OSError):  # the service is gone
        try:
            pairing = Pairing(plan)
        except BintallyError as error:
            pipe.send_bytes(ENCODER.encode(Word("failed", error.message)))
            return
        try:
            pipe.send_bytes(ENCODER.encode(Word("ready")))
            _serve(pipe, pairing)
        finally:
            pairing.close()


def _serve(pipe: Connection, pairing: "Pairing") -> None:
    while True:
        if not pipe.poll(_SYNC_S):
            pairing.sync()
            continue
        question = QUESTION.decode(pipe.recv_bytes())
        word = pairing.pair(question, pipe.recv_bytes())
        pipe.send_bytes(ENCODER.encode(word))


class Pairing:
    """The challenger, loaded, and the file its pairs are kept in.

    Raises:
        BundleError: its files are not those that were registered, or can't be used.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._counter = _loaded(plan.challenger, plan.trust)
        self._champion: int | None = None
        self._file: PairFile | None = None
        self._bytes = 0
        self._synced = time.monotonic()

    def pair(self, question: Question, photo: bytes) -> Word:
        """Counts a photo and keeps both answers."""
        try:
            file = self._file_of(question.champion)
            if self._bytes >= self._plan.most_bytes:
                return Word("full", f"{file.path.parent} holds {self._bytes / 2**20:.3g} MB")
            self._bytes += file.add(self._paired(question, photo))
            if time.monotonic() - self._synced >= _SYNC_S:
                self.sync()
        except (StorageError, OSError) as error:
            self.close()
            return Word("not_kept", error.message if isinstance(error, StorageError) else str(error))
        return Word("kept")

    def sync(self) -> None:
        """Returns when all pairs would outlive a power cut."""
        if self._file is not None:
            self._file.sync()
        self._synced = time.monotonic()

    def close(self) -> None:
        """Leaves the file, which the next pair opens again."""
        if self._file is not None:
            with suppress(BintallyError, OSError):
                self._file.sync()
            self._file.close()
        self._file = self._champion = None

    def _paired(self, question: Question, photo: bytes) -> Pair:
        return Pair(
            request_id=question.request_id,
            at=question.at,
            photo_sha256=sha256(photo).hexdigest(),
            champion=question.told,
            challenger=self._told(question, photo),
            counts=question.counts,
            site=question.site,
            bin=question.bin,
            bin_image_id=question.bin_image_id,
            recorded_count=question.recorded_count,
            verdict=question.verdict,
            dropped=question.dropped,
        )

    def _told(self, question: Question, photo: bytes) -> Told:
        """What the challenger tells; that it could not count is told, too."""
        try:
            return Told.of(self._counter.restricted(question.counts).count(photo))
        except BintallyError as error:
            return Told(error=error.message)

    def _file_of(self, champion: Side) -> PairFile:
        """The file for pairs beside this champion, begun with how fast both are."""
        if self._file is None or self._champion != champion.version_id:
            self.close()
            challenger = self._plan.challenger
            folder = folder_of(Path(self._plan.place), challenger.version_id, champion.version_id)
            self._file = PairFile(folder / f"{self._plan.service}{SUFFIX}")
            self._champion, self._bytes = champion.version_id, bytes_in(folder)
            self._bytes += self._file.add(self._begun(champion))
        return self._file

    def _begun(self, champion: Side) -> Begun:
        challenger_ms, champion_ms = self._speeds(champion)
        return Begun(
            at=datetime.now(UTC),
            service=self._plan.service,
            challenger=self._plan.challenger.name,
            champion=champion.name,
            challenger_ms=challenger_ms,
            champion_ms=champion_ms,
        )

    def _speeds(self, champion: Side) -> tuple[float | None, float | None]:
        """Milliseconds of processor time, median, in turn; the champion is let go again."""
        try:
            other = _loaded(champion, self._plan.trust)
        except BundleError:
            return None, None
        pairs = [(_inference_ms(self._counter), _inference_ms(other)) for _ in range(_TIMED + 1)][1:]
        told, told_by_other = (statistics.median(times) for times in zip(*pairs, strict=True))
        return round(told, 4), round(told_by_other, 4)


def _loaded(side: Side, trust: tuple[str, ...]) -> "Counter":
    from bintally.counting.counter import Counter
    from bintally.signatures.checking import check
    from bintally.signatures.digest import digest_of

    if digest_of(side.bundle) != side.bundle_sha256:
        raise BundleError(f"The files in {side.folder} are not those that were registered as {side.name}.")
    check(side.bundle, tuple(map(Path, trust)))
    return Counter(side.bundle, threads=1)


def _inference_ms(counter: "Counter") -> float:
    import numpy as np

    photo_nhwc = np.full((1, counter.card.height_px, counter.card.width_px, 3), 127, np.uint8)
    started = time.thread_time()
    counter.network.see(photo_nhwc)
    return 1000 * (time.thread_time() - started)
