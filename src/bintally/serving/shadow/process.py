"""The shadow's process, as the service sees it: started, asked, ended, and lost."""

import multiprocessing
import os
import threading
import time
from contextlib import suppress
from typing import Final

import msgspec

from bintally.errors import BintallyError
from bintally.serving.shadow.child import run_shadow
from bintally.serving.shadow.messages import ENCODER, WORD, Plan, Question, Word

LOWEST: Final = 19
"""Niceness: beside a service that wants all cores, the process gets about 1.5% of one."""

START_S: Final = 300.0
"""What loading may take: it waits for everybody else's work."""

ANSWER_S: Final = 60.0
_LOOK_S: Final = 0.1
_END_S: Final = 2.0


class ShadowLostError(BintallyError):
    """The process can't count, or is gone."""


class ShadowProcess:
    """Counts photos with the challenger. One thread uses it; `is_over` has it wait no longer."""

    def __init__(self, plan: Plan, is_over: threading.Event) -> None:
        context = multiprocessing.get_context("spawn")
        self._is_over = is_over
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=run_shadow, args=(theirs, plan), name="bintally-shadow", daemon=True)
        self._process.start()
        theirs.close()
        if hasattr(os, "setpriority") and self._process.pid is not None:
            with suppress(OSError):  # it is gone already
                os.setpriority(os.PRIO_PROCESS, self._process.pid, LOWEST)

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    def until_ready(self) -> None:
        """Returns when it has loaded the challenger.

        Raises:
            ShadowLostError: it can't.
        """
        word = self._word(START_S)
        if word.said != "ready":
            raise ShadowLostError(word.why)

    def pair(self, question: Question, photo: bytes) -> Word:
        """Has it count a photo and keep the pair.

        Raises:
            ShadowLostError: it is gone, or says nothing for `ANSWER_S`.
        """
        try:
            self._pipe.send_bytes(ENCODER.encode(question))
            self._pipe.send_bytes(photo)
        except OSError:
            raise ShadowLostError(self._how()) from None
        return self._word(ANSWER_S)

    def end(self) -> None:
        """Ends it: it hears that nobody asks any more, or is killed."""
        self._pipe.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _word(self, seconds: float) -> Word:
        deadline = time.monotonic() + seconds
        try:
            while not self._pipe.poll(_LOOK_S):
                if self._is_over.is_set():
                    raise ShadowLostError("The service ends.")
                if time.monotonic() > deadline:
                    raise ShadowLostError(f"Its process has said nothing for {seconds:.0f} s.")
            return WORD.decode(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise ShadowLostError(self._how()) from None
        except msgspec.DecodeError as error:
            raise ShadowLostError(f"Its process said what is no word: {error}.") from None

    def _how(self) -> str:
        self._process.join(_END_S)
        return f"Its process ended with code {self._process.exitcode}."
