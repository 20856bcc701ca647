"""Recorded words for moments when nobody else can speak: the embedded provider's voice, and the bridge's own.

Ours are read once, when this module is imported, so that fetching one never touches the disk. A folder of the same
shape (`NAME.ulaw`, and optionally `texts.toml` with what each says) replaces any of them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, get_args

from tandem_codecs.format import MULAW_8K
from tandem_providers.errors import InvalidConfigError

PromptName = Literal[
    "greeting", "still-there", "goodbye", "one-moment", "sorry", "not-heard", "menu", "tone-test", "latency-test"
]
NAMES: Final[tuple[PromptName, ...]] = get_args(PromptName)
LONGEST_MS: Final = 60_000
"""A recording longer than this is taken for a mistake: it would sit in memory, and in a caller's ear."""

_OURS: Final = Path(__file__).with_name("prompts")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A recording and what it says."""

    name: str
    text: str
    audio: bytes
    """G.711 mu-law at 8 kHz."""


def prompt(name: PromptName, folder: str | Path | None = None) -> Prompt:
    """The recording of that name, from `folder` where it has one, else ours.

    Reads a folder once, at its first use: ask for one prompt before the event loop runs, or in a thread.

    Raises:
        InvalidConfigError: there is no prompt of that name, or the folder can not be used; says which and why.
    """
    found = (_load(Path(folder)) if folder else _BUILT_IN).get(name)
    if found is None:
        raise InvalidConfigError(f"there is no prompt named {name!r}; there are {', '.join(NAMES)}")
    return found


@cache
def _load(folder: Path) -> dict[str, Prompt]:
    """A folder's prompts over ours."""
    if not folder.is_dir():
        raise InvalidConfigError(f"the prompt folder {str(folder)!r} is no folder")
    unknown = sorted(path.name for path in folder.glob("*.ulaw") if path.stem not in NAMES)
    if unknown:
        raise InvalidConfigError(f"no prompt is named like {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return {**_BUILT_IN, **_read(folder)}


def _read(folder: Path) -> dict[str, Prompt]:
    """What is in the folder."""
    texts = _texts(folder / "texts.toml")
    prompts: dict[str, Prompt] = {}
    for name in NAMES:
        path = folder / f"{name}.ulaw"
        if not path.exists():
            continue
        audio = _audio(path)
        # Without a text we do not know what a replaced recording says, so we do not claim that it says what ours does.
        prompts[name] = Prompt(name, texts.get(name, f"({name})"), audio)
    return prompts


def _texts(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        texts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidConfigError(f"{str(path)!r} can not be read: {error}") from error
    wrong = sorted(name for name, text in texts.items() if not isinstance(text, str))
    if wrong:
        raise InvalidConfigError(f"{str(path)!r}: {', '.join(wrong)} must be text")
    return texts


def _audio(path: Path) -> bytes:
    try:
        audio = path.read_bytes()
    except OSError as error:
        raise InvalidConfigError(f"{str(path)!r} can not be read: {error}") from error
    if audio.startswith(b"RIFF"):
        raise InvalidConfigError(f"{str(path)!r} is a WAV file; raw G.711 mu-law at 8 kHz is wanted, without a header")
    if not 0 < len(audio) <= MULAW_8K.size(LONGEST_MS):
        seconds = MULAW_8K.milliseconds(len(audio)) / 1000
        raise InvalidConfigError(
            f"{str(path)!r} lasts {seconds:.1f} s; more than 0 and at most {LONGEST_MS // 1000} s will do"
        )
    return audio


_BUILT_IN: Final[dict[str, Prompt]] = _read(_OURS)
