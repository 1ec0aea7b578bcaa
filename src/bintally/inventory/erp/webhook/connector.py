"""`WebhookConnector`: each posting is an event, which the receiver takes once.

Nothing is kept over there that could be asked for: a draft is the event itself, and what became of one that was not
answered is not known. It is sent again with the same id (`webhook-id`), and it is the receiver that takes each id once.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bintally.errors import ErpError, ErpGoneError, ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.protocol import About, Answer, Draft, Posting, Stock
from bintally.inventory.erp.webhook import events
from bintally.inventory.erp.webhook.replies import answer_of, error_of
from bintally.inventory.erp.webhook.sending import Reply, Sender
from bintally.inventory.erp.webhook.settings import WebhookSettings
from bintally.inventory.erp.webhook.signing import keys_of

_LONGEST_QUIET_S: Final = 3600.0  # a receiver may say anything
_FRESH_S: Final = 60.0  # so long a receiver that took an event counts as there


class WebhookConnector:
    """A `Connector` of webhooks. Not for several threads at once."""

    def __init__(self, settings: WebhookSettings, secret: str | None) -> None:
        """Nothing is reached yet.

        Raises:
            ConfigError: there is no secret, or it is none of a webhook.
        """
        self._settings = settings
        self._sender = Sender(settings, keys_of(secret))
        self._heard_at: float | None = None
        self._quiet_until: float | None = None
        self._gone: ErpGoneError | None = None

    def about(self) -> About:
        """Tells the receiver an event that asks for nothing, unless it has just taken one."""
        self._respect()
        if self._settings.ping and not self._is_fresh():
            reply = self._send(events.ping())
            if not reply.is_taken:
                raise self._heeded(error_of(reply))
        return About("Webhook", "", self._sender.host, reads=False, finds=False)

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        """Nothing: a receiver only listens."""
        raise ErpRefusedError("A webhook does not tell what is in stock.")

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        """Nothing: a receiver only listens."""
        return {}

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        """Events; nothing is sent."""
        return {
            posting.key: Draft(posting.key, posting.key, answer={"event": events.adjusted(posting)})
            for posting in postings
        }

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        """Sends events, one after the other, up to the first that the receiver does not answer."""
        answers: dict[str, Answer] = {}
        for draft in drafts:
            try:
                answers[draft.key] = self._told(draft)
            except ErpError:
                if not answers:
                    raise
                break  # the others are tried again
        return answers

    def cancel(self, drafts: Sequence[Draft]) -> None:
        """Nothing: nobody over there knows of drafts."""

    def close(self) -> None:
        """Ends connections."""
        self._sender.close()

    def _told(self, draft: Draft) -> Answer:
        reply = self._send(draft.answer["event"])
        try:
            return answer_of(draft, reply)
        except ErpError as error:
            raise self._heeded(error) from None

    def _send(self, event: Mapping[str, Any]) -> Reply:
        self._heard_at = None
        reply = self._sender.send(event["id"], events.body_of(event))
        self._heard_at = time.monotonic() if reply.is_taken else None
        return reply

    def _is_fresh(self) -> bool:
        return self._heard_at is not None and time.monotonic() - self._heard_at < _FRESH_S

    def _heeded(self, error: ErpError) -> ErpError:
        """Remembers what a receiver asks for beside this event: to be left alone, for a while or for good."""
        if isinstance(error, ErpGoneError):
            self._gone = error
        if isinstance(error, ErpUnavailableError) and error.retry_after_s is not None:
            self._quiet_until = time.monotonic() + min(error.retry_after_s, _LONGEST_QUIET_S)
        return error

    def _respect(self) -> None:
        """Does as the receiver has asked.

        Raises:
            ErpGoneError, ErpUnavailableError: it wants to be left alone.
        """
        gone, self._gone = self._gone, None
        if gone is not None:
            raise gone
        left_s = 0.0 if self._quiet_until is None else self._quiet_until - time.monotonic()
        if left_s > 0:
            raise ErpUnavailableError("The receiver wants to be left alone for a while.", retry_after_s=left_s)
