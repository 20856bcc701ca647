"""Cutting a stream of bytes into frames of one size."""

from __future__ import annotations


class Framer:
    """Keeps what does not fill a frame until the rest arrives; holds less than one frame.

    Raises:
        ValueError: the size is not positive.
    """

    __slots__ = ("_pending", "size")

    def __init__(self, size: int) -> None:
        if size <= 0:
            raise ValueError(f"a frame needs at least one byte, not {size}")
        self.size = size
        self._pending = b""

    @property
    def pending(self) -> int:
        """Bytes waiting for the rest of their frame."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that this input completes, in order; a lone whole frame comes back as the same object."""
        size = self.size
        if self._pending:
            data = self._pending + data
        elif len(data) == size:
            return [data]
        whole = len(data) - len(data) % size
        self._pending = data[whole:]
        return [data[start : start + size] for start in range(0, whole, size)]

    def flush(self) -> bytes:
        """What waits, shorter than a frame and possibly empty; the framer is then as good as new."""
        rest, self._pending = self._pending, b""
        return rest

    def __repr__(self) -> str:
        return f"Framer({self.size})"
