"""What a rule found."""

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One rule's word on one tensor (or figure) at one step: what was measured, against which threshold."""

    rule: str
    step: int
    tensor: str
    """The parameter, layer, or figure it is about."""
    value: float
    threshold: float
    message: str
    """What it means, in a sentence with the figures."""
    advice: str = ""
    """What to try first."""
