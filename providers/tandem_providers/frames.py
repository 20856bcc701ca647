"""WebSocket framing (RFC 6455), pure: bytes in, whole messages out, and back.

Both ends of a call use it: for the carrier we are the server, for the provider the client. A call moves two hundred
frames a second, so the common frame (whole, short, text) takes the shortest way through `FrameReader.feed`, and
everything else a slower one. No extension is ever negotiated, so a reserved bit is an error.
"""

from __future__ import annotations

from typing import Final

try:  # C, 50 ns for a telephone frame; the package may come without it where there is no compiler
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover
    from websockets.utils import apply_mask

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FINAL: Final = 0x80
WHOLE_TEXT: Final = _FINAL | TEXT
"""First byte of a text message in one frame."""
_WHOLE_BINARY: Final = _FINAL | BINARY
_CONTROL_MAX: Final = 125
_EMPTY_PIECES_MAX: Final = 1000
"""They add nothing to a message that could make it too long, so that something else has to end them."""
_NO_STATUS: Final = 1005

Message = tuple[int, bytes]
"""Opcode (TEXT, BINARY, CLOSE, PING, PONG) and payload; text is valid UTF-8, a close frame is well-formed."""


class Violation(Exception):
    """The far end broke the protocol: the close code that says how, and why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class FrameReader:
    """Cuts a byte stream into messages, however it is split.

    `violation` is set once the far end has broken the protocol; nothing is read from then on. A message is refused by
    its announced size, before any of it is kept. `early` is what came in before: it is read with the first `feed`.
    """

    __slots__ = ("_empty", "_kind", "_masked", "_max", "_need", "_rest", "_whole", "violation")

    def __init__(self, *, masked: bool, max_message: int, early: bytes = b"") -> None:
        self.violation: Violation | None = None
        self._masked = 1 if masked else 0
        self._max = max_message
        self._rest = bytearray(early)
        self._need = 0
        self._kind = CONTINUATION
        """Of the message whose pieces are coming in; none is."""
        self._whole = bytearray()
        self._empty = 0

    def single(self, data: bytes) -> bytes | None:
        """The payload, when these bytes are exactly one whole message, as nearly always; None: `feed` them.

        What kind of message it is the first byte says: `data[0] == WHOLE_TEXT`, or it is binary.
        """
        size = len(data)
        if size < 8 or self._rest or self._kind or self.violation is not None:
            return None
        first = data[0]
        if first != WHOLE_TEXT and first != _WHOLE_BINARY:
            return None
        length, head = (data[1] - 0x80, 6) if self._masked else (data[1], 2)
        if length == 126:
            length = data[2] << 8 | data[3]
            head += 2
        elif length > 126:
            return None
        if head + length != size or length > self._max:
            return None
        payload = apply_mask(data[head:], data[head - 4 : head]) if self._masked else data[head:]
        return payload if first != WHOLE_TEXT or payload.isascii() else None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete, in order; those before a violation are still among them."""
        if self.violation is not None:
            return []
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        out: list[Message] = []
        try:
            at = self._cut(data, out)
        except Violation as violation:
            self.violation = violation
            return out
        if at < len(data):
            self._rest += data[at:]
        return out

    def _cut(self, data: bytes, out: list[Message]) -> int:
        at, end, masked = 0, len(data), self._masked
        while end - at >= 2:
            first = data[at]
            length = data[at + 1]
            if length >> 7 != masked:
                raise Violation(1002, "frames from a client are masked, those from a server are not")
            length &= 0x7F
            body = at + 2
            if length == 126:
                body += 2
                length = int.from_bytes(data[at + 2 : body])
            elif length == 127:
                body += 8
                length = int.from_bytes(data[at + 2 : body])
            if body > end:
                self._need = body - at
                break
            if masked:
                body += 4
            if first != WHOLE_TEXT or self._kind or length > self._max:
                self._check(first, length)
            stop = body + length
            if stop > end:
                self._need = stop - at
                break
            payload = data[body:stop]
            if masked:
                payload = apply_mask(payload, data[body - 4 : body])
            at = stop
            if first == WHOLE_TEXT:
                if not payload.isascii():
                    _check_text(payload)
                out.append((TEXT, payload))
            else:
                self._take(first, payload, out)
        else:
            self._need = 2
        return at

    def _check(self, first: int, length: int) -> None:
        """Whether a frame with this header may come now."""
        opcode = first & 0x0F
        if first & 0x70:
            raise Violation(1002, "reserved bit set")
        if opcode in (CLOSE, PING, PONG):
            if not first & _FINAL or length > _CONTROL_MAX:
                raise Violation(1002, "control frame in pieces or too long")
            return
        if opcode not in (CONTINUATION, TEXT, BINARY):
            raise Violation(1002, f"unknown opcode {opcode}")
        if (opcode == CONTINUATION) != bool(self._kind):
            raise Violation(1002, "continuation expected" if self._kind else "nothing to continue")
        if len(self._whole) + length > self._max:
            raise Violation(1009, f"message over {self._max} bytes")

    def _take(self, first: int, payload: bytes, out: list[Message]) -> None:
        """A frame other than a whole text message."""
        opcode = first & 0x0F
        if opcode >= CLOSE:
            if opcode == CLOSE:
                read_close(payload)
            out.append((opcode, payload))
            return
        if opcode:
            self._kind, self._empty = opcode, 0
        self._empty += not payload
        if self._empty > _EMPTY_PIECES_MAX:
            raise Violation(1008, "too many empty pieces")
        self._whole += payload
        if first & _FINAL:
            message, kind = bytes(self._whole), self._kind
            self._whole.clear()
            self._kind = CONTINUATION
            if kind == TEXT:
                _check_text(message)
            out.append((kind, message))


def _check_text(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise Violation(1007, "text is not UTF-8") from None


def read_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame; 1005 when it names none.

    Raises:
        Violation: it is malformed, or its code may not appear on the wire.
    """
    if not payload:
        return _NO_STATUS, ""
    code = int.from_bytes(payload[:2])
    allowed = 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    if len(payload) < 2 or not allowed:
        raise Violation(1002, "malformed close frame")
    _check_text(payload[2:])
    return code, payload[2:].decode()


def close_payload(code: int, reason: str) -> bytes:
    """The payload of a close frame; a long reason is cut between characters, 1005 says nothing."""
    if code == _NO_STATUS:
        return b""
    text = reason.encode()[: _CONTROL_MAX - 2]
    return code.to_bytes(2) + text.decode(errors="ignore").encode()


def server_frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame as a server writes it."""
    size = len(payload)
    if size < 126:
        return bytes((_FINAL | opcode, size)) + payload
    if size < 65536:
        return bytes((_FINAL | opcode, 126, size >> 8, size & 0xFF)) + payload
    return bytes((_FINAL | opcode, 127)) + size.to_bytes(8) + payload


def client_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """One whole frame as a client writes it; `mask` is four bytes that nobody can foresee."""
    size = len(payload)
    if size < 126:
        head = bytes((_FINAL | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((_FINAL | opcode, 0xFE, size >> 8, size & 0xFF))
    else:
        head = bytes((_FINAL | opcode, 0xFF)) + size.to_bytes(8)
    return head + mask + apply_mask(payload, mask)
