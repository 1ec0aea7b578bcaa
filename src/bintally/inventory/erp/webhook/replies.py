"""What a receiver's answers mean.

Standard Webhooks: 2xx, it has the event; 410, it wants no more; all else, it is told again. Of our own: what is wrong
with this event (400, 413, 422), or with the stock that it starts from (409), is for a person.
"""

from http import HTTPStatus
from typing import Any, Final

import msgspec

from bintally.errors import ErpAccessError, ErpError, ErpGoneError, ErpUnavailableError
from bintally.inventory.erp.http import retry_after_s
from bintally.inventory.erp.protocol import Answer, Draft
from bintally.inventory.erp.webhook.sending import Reply

_REFUSED: Final = frozenset({400, 413, 422})
_LATER: Final = frozenset({408, 425, 429})
_WORDS: Final = 200  # characters of a receiver's reason
_DEEP: Final = 200  # brackets in a body that is taken apart


def answer_of(draft: Draft, reply: Reply) -> Answer:
    """What became of a draft.

    Raises:
        ErpError: nothing, for now or for good.
    """
    evidence = {"status": reply.status, "body": _kept(reply.body)}
    if reply.is_taken:
        return Answer(draft.key, "done", draft.reference, "", evidence)
    if reply.status == HTTPStatus.CONFLICT:
        return Answer(draft.key, "stale", draft.reference, _told(reply) or "its stock has moved", evidence)
    if reply.status in _REFUSED:
        reason = _told(reply) or f"the receiver refuses it (HTTP {reply.status})"
        return Answer(draft.key, "refused", draft.reference, reason, evidence)
    raise error_of(reply)


def error_of(reply: Reply) -> ErpError:
    """The error for an answer that is none to this event alone."""
    status, words = reply.status, _told(reply)
    why = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    if status == HTTPStatus.GONE:
        return ErpGoneError(
            f"The receiver wants no more events ({why}).", hint="`bintally erp resume` tells it again all the same."
        )
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ErpUnavailableError(
            f"The receiver is busy or failed ({why}).", retry_after_s=retry_after_s(reply.headers)
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return ErpAccessError(f"The receiver does not believe us ({why}).", hint="Compare the secret and the clocks.")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        to = reply.headers.get("Location", "")[:_WORDS]
        return ErpAccessError(f"The receiver sends us on to {to!r} ({why}).", hint="Look at the setting url.")
    return ErpAccessError(f"The receiver refuses events ({why}).", hint="Look at the setting url, and at its log.")


def _told(reply: Reply) -> str:
    """A receiver's reason, where it tells one as problem details (RFC 9457) do."""
    body = _kept(reply.body)
    told = next((body[name] for name in ("detail", "title") if body.get(name)), "") if isinstance(body, dict) else ""
    return "".join(letter for letter in str(told)[:_WORDS] if letter.isprintable())


def _kept(body: bytes | None) -> Any:
    """An answer's body as evidence: what it says as JSON, else its text. It can be written as JSON again."""
    if body is None:
        return None
    if body.count(b"[") + body.count(b"{") <= _DEEP:
        try:
            return msgspec.json.decode(body)
        except (msgspec.MsgspecError, ValueError):
            pass
    return body.decode(errors="replace")
