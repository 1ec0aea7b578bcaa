"""Whether bytes may be a photo at all, told by the first of them and not by what the sender says."""

from bintally.errors import PhotoError
from bintally.serving.refusals import too_large


def media_type_of(photo: bytes) -> str | None:
    """Which of `PHOTO_TYPES` it is; None: none of them."""
    if photo.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if photo.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    return "image/webp" if photo[:4] == b"RIFF" and photo[8:12] == b"WEBP" else None


def checked(photo: bytes, *, max_photo_bytes: int) -> bytes:
    """`photo`, if it is one by its first bytes.

    Raises:
        PhotoError: empty, or neither JPEG, PNG nor WebP.
        RequestError: 413.
    """
    if len(photo) > max_photo_bytes:
        raise too_large(max_photo_bytes)
    if not photo:
        raise PhotoError("The photo is empty (0 bytes).", hint="Fetch or take it again.", reason="empty")
    if media_type_of(photo) is None:
        raise PhotoError(
            "This is not a JPEG, PNG or WebP photo.",
            hint="Save it as one of them and send it again.",
            reason="not_a_photo",
        )
    return photo
