"""The caller's audio in the call's own format, as the carrier announced it or as it certainly is. Pure."""

from __future__ import annotations

from collections.abc import Callable

from tandem.carriers.events import Media
from tandem_codecs.convert import Converter
from tandem_codecs.format import AudioFormat
from tandem_codecs.guard import CodecGuard


class LineAudio:
    """For one media stream. `on_wrong` is told, once, when the audio certainly is something else than announced.

    Raises:
        ValueError: there is no way from one format to the other.
    """

    __slots__ = ("_converter", "_guard", "_leg", "_on_wrong")

    def __init__(self, announced: AudioFormat, leg: AudioFormat, on_wrong: Callable[[CodecGuard], None]) -> None:
        self._leg = leg
        self._on_wrong = on_wrong
        self._converter = None if announced == leg else Converter(announced, leg)
        self._guard: CodecGuard | None = CodecGuard(announced)

    @property
    def needless(self) -> bool:
        """Nothing is left to find out, or to convert."""
        return self._guard is None and self._converter is None

    def hear(self, media: Media) -> Media:
        """The same in the call's format."""
        guard = self._guard
        if guard is not None:
            guard.feed(media.audio)
            if guard.done:
                self._guard = None
                if guard.found is not None:
                    self._converter = None if guard.found == self._leg else Converter(guard.found, self._leg)
                    self._on_wrong(guard)
        if self._converter is None:
            return media
        return Media(self._converter.feed(media.audio), media.chunk, media.timestamp_ms)
