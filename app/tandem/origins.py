"""Where a server is: scheme, host and port, in the one form that signatures and stream URLs are made with."""

from __future__ import annotations

from urllib.parse import urlsplit


def origin_of(text: str) -> str:
    """Scheme, host and port, in the form that is compared.

    Raises:
        ValueError: it is something else; the message says what to write.
    """
    if "://" not in text:
        raise ValueError(f"start it with https://, as in https://{text.split('/')[0]}")
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port is not a number up to 65535") from None
    host = parts.hostname or ""
    if parts.scheme in ("ws", "wss"):
        raise ValueError("use http:// or https://; the WebSocket's address is derived from it")
    if parts.scheme not in ("http", "https"):
        raise ValueError("use http:// or https://")
    if not host or parts.username is not None:
        raise ValueError("write scheme and host only, as in https://voice.example.com")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("write scheme and host only, without a path: the carriers' paths are appended")
    if "_" in host:
        raise ValueError("a host name with an underscore is refused by carriers and certificates")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")


def is_local(origin: str) -> bool:
    """Only this machine can reach it."""
    host = urlsplit(origin).hostname or ""
    return host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")
