"""One line for each thing that happened, as JSON or for a terminal; numbers, words and keys never in the clear.

    log = logs.get(__name__)
    log.info("call ended", call_id=..., carrier="twilio", seconds=42.1, caller=Private("+15551234567"))

A line is built where it is logged, so it sees the call it belongs to (`call_id`), and is written by a thread of its
own: a stalled log reader must not stall a call. Nothing that a caller or a provider sends can start a line.
"""

from __future__ import annotations

import atexit
import json
import logging
import queue
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from tandem.settings import Settings

HIDDEN: Final = "•••"
LONGEST: Final = 4000  # characters of one value; a provider's error page must not become a log flood
WAITING: Final = 10_000  # lines that may wait for a slow reader; further ones are dropped and counted

call_id: ContextVar[str] = ContextVar("call_id", default="")
"""The call that the current task works for. Set once by the call's owner; its tasks and callbacks inherit it."""

_NUMBER = re.compile(r"(?:sips?:|tel:)?\+?[\d\s().-]{5,}(?:@\S+)?")
_LOOSE_NUMBER = r"(?P<number>(?:\+|%2B)\d{7,15})"  # E.164 in text that is not ours: an error, a foreign library's line
_TOKEN = r"(?<=/media/)[\w.~=%-]+"  # noqa: S105  # a pattern, not a token
# What a terminal or a line-based reader could take for the end of a line or for a command (C1, LS, PS, bidi).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Private:
    """What a person said or is called, or their number: logged redacted, unless `LOG_REDACT=false`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __str__(self) -> str:
        if _NUMBER.fullmatch(self._value):
            return _edges(self._value)
        return f"•({len(self._value)})" if self._value else ""

    def __repr__(self) -> str:
        return f"Private({self})"


class Secret:
    """A key or a password: never printed, whatever the settings say."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"


def _edges(number: str) -> str:
    """Enough of a number to tell two callers apart, too little to call them."""
    if len(number) < 9:
        return HIDDEN
    return f"{number[:3]}{'•' * (len(number) - 5)}{number[-2:]}"


class Redactor:
    """Takes out of finished text what slipped in unwrapped: known secrets, stream tokens, and phone numbers."""

    def __init__(self, secrets: Iterable[str] = (), *, redact: bool = True) -> None:
        forms = {form for secret in secrets if len(secret) >= 6 for form in (secret, json.dumps(secret)[1:-1])}
        # The longest first: one secret may begin with another.
        patterns = [re.escape(form) for form in sorted(forms, key=len, reverse=True)] + [_TOKEN]
        if redact:
            patterns.append(_LOOSE_NUMBER)
        self.redact = redact
        self._pattern = re.compile("|".join(patterns))

    def __call__(self, text: str) -> str:
        return self._pattern.sub(lambda m: _edges(m[0]) if m.lastgroup == "number" else HIDDEN, text)


class Log:
    """Logs events with fields. Cheap when the level is off."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, logger: logging.Logger, fields: Mapping[str, object] | None = None) -> None:
        self._logger = logger
        self._fields = fields or {}

    def bind(self, **fields: object) -> Log:
        """The same log with these fields on each line."""
        return Log(self._logger, {**self._fields, **fields})

    def debug(self, event: str, /, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, *, error: BaseException | None = None, **fields: object) -> None:
        """With `error`: its kind, message, causes and where it came from, on the same line."""
        self._log(logging.ERROR, event, fields, error)

    def _log(self, level: int, event: str, fields: dict[str, object], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            extra = {"fields": {**self._fields, **fields} if self._fields else fields}
            self._logger.log(level, event, extra=extra, exc_info=error)


def get(name: str) -> Log:
    """The log of a module; call it with `__name__`."""
    return Log(logging.getLogger(name))


class LineFormatter(logging.Formatter):
    """Our lines and those of other libraries, in one shape."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {}
        ours = getattr(record, "fields", None)
        # Ours carry no %-arguments, and a percent sign in an event is only that.
        event = record.msg if isinstance(ours, dict) and not record.args else record.getMessage()
        where = call_id.get()
        if where:
            fields["call_id"] = where
        for name, value in (ours or {}).items():
            fields[name] = self._plain(value)
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = describe(record.exc_info[1])
        return self._redactor(_CONTROL.sub(_escape, self.line(record, self._short(str(event)), fields)))

    def line(self, record: logging.LogRecord, event: str, fields: dict[str, Any]) -> str:
        raise AssertionError("a formatter of ours says what its lines look like")

    def _plain(self, value: object) -> Any:
        """Something that JSON can say."""
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self._short(value)
            case Private():
                return self._short(str(value) if self._redactor.redact else value.reveal())
            case Enum():
                return self._plain(value.value)
            case BaseException():
                return self._short(f"{type(value).__name__}: {value}")
            case Mapping():
                return {str(key): self._plain(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._plain(item) for item in value]
            case bytes() | bytearray() | memoryview():
                return f"{len(value)} bytes"
        return self._short(str(value))

    @staticmethod
    def _short(text: str) -> str:
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}…(+{len(text) - LONGEST})"


class JsonFormatter(LineFormatter):
    """One JSON object a line: ts, level, event, logger, call_id where known, then the fields."""

    def line(self, record: logging.LogRecord, event: str, fields: dict[str, Any]) -> str:
        head = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "event": event,
            "logger": record.name,
        }
        # A field that is called like one of ours must not forge it.
        return json.dumps(head | {f"{k}_" if k in head else k: v for k, v in fields.items()}, ensure_ascii=False)


class ConsoleFormatter(LineFormatter):
    """For a person at a terminal."""

    def line(self, record: logging.LogRecord, event: str, fields: dict[str, Any]) -> str:
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        shown = " ".join(f"{name}={_bare(value)}" for name, value in fields.items())
        return f"{clock} {record.levelname.lower():7} {event}" + (f"  {shown}" if shown else "")


def _bare(value: Any) -> str:
    if isinstance(value, str) and value and not re.search(r'[\s"=]', value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def describe(error: BaseException, depth: int = 4) -> dict[str, Any]:
    """An exception as data: kind, message, the innermost places first, and what caused it."""
    said: dict[str, Any] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
        "message": LineFormatter._short(str(error)),
        "stack": _places(error.__traceback__),
    }
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and depth:
        said["cause"] = describe(cause, depth - 1)
    if isinstance(error, BaseExceptionGroup) and depth:
        said["errors"] = [describe(inner, depth - 1) for inner in error.exceptions[:5]]
    return said


def _places(trace: TracebackType | None) -> list[str]:
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[::-1][:20]


class PathsOnly(logging.Filter):
    """Requests of a server's access log without their queries: those say who called, in whatever spelling."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(each.partition("?")[0] if isinstance(each, str) else each for each in record.args)
        return True


class QueuedHandler(logging.Handler):
    """Writes lines from a thread of its own, in order; drops and counts them when the reader stalls."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= WAITING:
            self._dropped += 1
            return
        try:
            self._lines.put(self.format(record))
        except Exception:  # a line that can't be built must not end a call
            self.handleError(record)

    def close(self) -> None:
        """Write what waits, for a second at most."""
        self._lines.put(None)
        self._thread.join(timeout=1)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            stream = self._stream or sys.stderr
            try:
                if self._dropped:
                    lost, self._dropped = self._dropped, 0
                    stream.write(f'{{"level": "warning", "event": "log lines lost", "lines": {lost}}}\n')
                stream.write(line + "\n")
                if self._lines.empty():
                    stream.flush()
            except (OSError, ValueError):  # the reader is gone, or the stream is closed: nowhere left to say so
                continue


_handler: QueuedHandler | None = None


def setup(settings: Settings, stream: TextIO | None = None) -> None:
    """Send everything that is logged in this process through our lines. A second call replaces the first."""
    global _handler
    close()
    redactor = Redactor(settings.secret_values(), redact=settings.log_redact)
    kind = JsonFormatter if settings.log_format == "json" else ConsoleFormatter
    _handler = QueuedHandler(stream)
    _handler.setFormatter(kind(redactor))
    root = logging.getLogger()
    root.addHandler(_handler)
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.filters.clear()
        logger.propagate = True
    if settings.log_redact:
        logging.getLogger("uvicorn.access").addFilter(PathsOnly())
    # These tell each request or each frame; a call's own lines say what matters.
    for name in ("httpx", "httpcore", "websockets", "asyncio", "picows"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Requests and the steps of starting are for those who look closely; call and server have lines of their own.
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.INFO if root.level <= logging.DEBUG else logging.WARNING)
    logging.captureWarnings(True)


def close() -> None:
    """Write what still waits and stop; called at exit, too."""
    global _handler
    if _handler is not None:
        logging.getLogger().removeHandler(_handler)
        _handler.close()
        _handler = None


atexit.register(close)
