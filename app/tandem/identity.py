"""Whose call it is, and by which names it is known."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Identity:
    """Empty fields are learnt when the stream starts."""

    session: str
    call_id: str = ""
    account_id: str = ""
    caller: str = field(default="", repr=False)
    called: str = field(default="", repr=False)
    outbound: bool = False
    """We placed the call: `caller` is our number, and the first stream's token knows no call id."""
    request_id: str = ""
    """What the carrier answered to placing the call, where that is not the call's id yet."""

    @property
    def ours(self) -> str:
        """Our own number in the call: whoever is called next sees it."""
        return self.caller if self.outbound else self.called

    def known_as(self, some_id: str) -> bool:
        """Whether that is one of its names: ours, the carrier's, or that of the request for it."""
        return bool(some_id) and some_id in (self.session, self.call_id, self.request_id)
