"""The URLs that carriers sign, pure: made from the configured public origin, never from what a request claims."""

from __future__ import annotations

import re
from typing import Final

_DEFAULT_PORTS: Final = {"https": 443, "wss": 443, "http": 80, "ws": 80}
_WEBSOCKET_SCHEMES: Final = {"https": "wss", "http": "ws"}
_ORIGIN: Final = re.compile(r"([a-z]+)://([^/?#]*)(.*)", re.DOTALL)


def websocket_url(public_url: str) -> str:
    """The origin of WebSocket URLs that belongs to the public origin: `wss` for `https`, `ws` for `http`."""
    scheme, separator, rest = public_url.rstrip("/").partition("://")
    return f"{_WEBSOCKET_SCHEMES.get(scheme, scheme)}{separator}{rest}"


def spellings(url: str) -> tuple[str, ...]:
    """The spellings of one URL that a carrier may have signed: as configured, without port, with the default port."""
    match = _ORIGIN.match(url)
    if match is None:
        return (url,)
    scheme, netloc, tail = match.groups()
    host = netloc if netloc.endswith("]") else re.sub(r":[0-9]*$", "", netloc)
    known = [url, f"{scheme}://{host}{tail}"]
    if netloc == host and scheme in _DEFAULT_PORTS:
        known.append(f"{scheme}://{host}:{_DEFAULT_PORTS[scheme]}{tail}")
    return tuple(dict.fromkeys(known))
