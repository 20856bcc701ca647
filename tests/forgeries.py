"""Stream tokens that are nearly right: a genuine one, changed in every way that a stranger might try (R30)."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from random import Random
from typing import Final
from urllib.parse import quote

from tandem import tokens

PARTS: Final = (slice(0, 2), slice(2, 34), slice(34, 42), slice(42, 106))
"""Of a token: version, session, expiry, MAC."""
LOOKALIKES: Final = {
    "0": "\uff10\u041e\u03bf\u0660\u0966\U0001d7ce\U0001d7e2",
    "1": "\uff11l|\u0661\u0967\U0001d7cf\u0456",
    "2": "\uff12\u0662\u0968\U0001d7d0",
    "3": "\uff13\u0417\u0663\u0969\U0001d7d1",
    "a": "\uff41\u0430\u03b1\U0001d41a\u00e1",
    "b": "\uff42\u042c\u0185\U0001d41b",
    "c": "\uff43\u0441\u03f2\U0001d41c\u00e7",
    "d": "\uff44\u0501\U0001d41d",
    "e": "\uff45\u0435\u212e\U0001d41e\u00e9",
    "f": "\uff46\u017f\U0001d41f",
    "v": "\uff56\u03bd\u0475\u2174",
}
"""Letters of other alphabets, and other digits of the same value."""
INVISIBLE: Final = ("\u200b", "\u200d", "\u00ad", "\ufeff", "\u0301", "\u202e", "\x00", "\t", "\n", "\r", " ", "\x7f")
EDGES: Final = (
    *("\n", "\r\n", " ", "\x00", "=", "==", "%", "%00", "/", "/..", "?", "#", "&a=b", ";", "0", "v1", "\ud800"),
)

Forgery = Callable[[Random, str, Sequence[str]], str]
"""Makes one of a genuine token; the others are genuine, too, and of other calls."""


def forgeries(genuine: Sequence[str], number: int, seed: int = 30) -> Iterator[str]:
    """So many of them, every way in turn; none is one of the genuine tokens."""
    chance = Random(seed)  # the same each time
    ways = cycle(WAYS)
    while number:
        text = next(ways)(chance, chance.choice(genuine), genuine)
        if text not in genuine:
            number -= 1
            yield text


def _put(token: str, place: int, text: str, over: int = 1) -> str:
    return token[:place] + text + token[place + over :]


def _bits(chance: Random, token: str, _: Sequence[str]) -> str:
    for _turn in range(chance.choice((1, 1, 1, 2, 8))):
        place = chance.randrange(len(token))
        token = _put(token, place, chr(ord(token[place]) ^ 1 << chance.randrange(8)))
    return token


def _digit(chance: Random, token: str, _: Sequence[str]) -> str:
    return _put(token, chance.randrange(2, len(token)), chance.choice("0123456789abcdef"))


def _cut(chance: Random, token: str, _: Sequence[str]) -> str:
    place = chance.randrange(len(token))
    return chance.choice((token[:place], token[place + 1 :], _put(token, place, "", chance.randrange(1, 9))))


def _extended(chance: Random, token: str, others: Sequence[str]) -> str:
    more = chance.choice(("0", "f", chance.choice(others), token, token[2:], token[-64:], chance.choice(EDGES)))
    return chance.choice((token + more, more + token, _put(token, chance.randrange(len(token)), more, 0)))


def _swapped_letters(chance: Random, token: str, _: Sequence[str]) -> str:
    letters, one, other = list(token), *(chance.randrange(len(token)) for _turn in range(2))
    letters[one], letters[other] = letters[other], letters[one]
    return "".join(letters)


def _swapped_parts(chance: Random, token: str, _: Sequence[str]) -> str:
    parts = [token[part] for part in PARTS]
    chance.shuffle(parts)
    return "".join(parts)


def _expiry_moved(chance: Random, token: str, _: Sequence[str]) -> str:
    expiry = int(token[PARTS[2]], 16)
    moved = expiry + chance.choice((1, -1)) * chance.choice((1, 2, 16, 60, 600, 3000, 1 << chance.randrange(31)))
    written = chance.choice(
        (f"{moved & 0xFFFFFFFF:08x}",) * 6 + (f"{moved:+08x}", f"{moved & 0xFFFFF:#08x}", "0000_001")
    )
    return _put(token, 34, written[:8], 8)


def _parts_of_another(chance: Random, token: str, others: Sequence[str]) -> str:
    """Everything but the MAC of one call and the MAC of another, and the like."""
    return "".join((token if chance.random() < 0.5 else chance.choice(others))[part] for part in PARTS)


def _halves_of_another(chance: Random, token: str, others: Sequence[str]) -> str:
    place = chance.randrange(1, len(token))
    return token[:place] + chance.choice(others)[place:]


def _session_of_another(chance: Random, token: str, others: Sequence[str]) -> str:
    """The chance of one session with the proof of another."""
    return _put(token, 18, chance.choice(others)[18:34], 16)


def _signed_by_another(chance: Random, token: str, _: Sequence[str]) -> str:
    """Of the right shape throughout, for some call, with a key that is not ours."""
    key, carrier = chance.randbytes(24), chance.choice(("twilio", "telnyx", "plivo", ""))
    call_id, until = chance.choice(("", "CA" + "0" * 32)), time.time() + chance.randrange(1, 3000)
    session = chance.choice((token[PARTS[1]], tokens.new_session(key, carrier, f"{chance.getrandbits(64):016x}")))
    return tokens.issue(key, carrier, session, call_id, until)


def _unsigned(chance: Random, token: str, _: Sequence[str]) -> str:
    return token[:42] + chance.choice(("", "0" * 64, "f" * 64, "None", "null", chance.randbytes(32).hex()))


def _base64(chance: Random, token: str, _: Sequence[str]) -> str:
    """The same bytes in another writing: base64 of the token or of its parts, padded or not, canonical or not."""
    encode = chance.choice((base64.b64encode, base64.urlsafe_b64encode, base64.b32encode, base64.b85encode))
    mac = encode(bytes.fromhex(token[PARTS[3]])).decode()
    whole = encode(chance.choice((token.encode(), bytes.fromhex(token[2:])))).decode()
    session = encode(bytes.fromhex(token[PARTS[1]])).decode()
    text = chance.choice(
        (token[:42] + mac, whole, "v1" + whole, "v1" + session + token[34:42] + mac, token[:42] + whole)
    )
    bare = text.rstrip("=")
    last = bare[-1:]
    careless = bare[:-1] + (chr(ord(last) + 1) if last.isalnum() else "B")  # the bits that padding leaves unused
    return chance.choice((text, bare, bare + "=", bare + "===", careless, token + "=", token + "=="))


def _other_case(chance: Random, token: str, _: Sequence[str]) -> str:
    letters = [place for place, letter in enumerate(token) if letter.isalpha()]
    place = chance.choice(letters)
    part = chance.choice(PARTS)
    return chance.choice((token.upper(), token.title(), _put(token, place, token[place].upper()),
                          token[: part.start] + token[part].upper() + token[part.stop :]))  # fmt: skip


def _lookalike(chance: Random, token: str, _: Sequence[str]) -> str:
    places = [place for place, letter in enumerate(token) if letter in LOOKALIKES]
    for place in chance.sample(places, chance.choice((1, 1, 2, len(places)))):
        token = _put(token, place, chance.choice(LOOKALIKES[token[place]])[:1])
    return token


def _invisible(chance: Random, token: str, _: Sequence[str]) -> str:
    return _put(token, chance.randrange(len(token) + 1), chance.choice(INVISIBLE), chance.choice((0, 0, 1)))


def _at_the_edge(chance: Random, token: str, _: Sequence[str]) -> str:
    edge = chance.choice(EDGES)
    return chance.choice((token + edge, edge + token))


def _quoted(chance: Random, token: str, _: Sequence[str]) -> str:
    """Percent signs that are still there once the URL has been read."""
    place = chance.randrange(len(token))
    return _put(token, place, f"%{ord(token[place]):02{chance.choice('xX')}}")


def _other_version(chance: Random, token: str, _: Sequence[str]) -> str:
    return chance.choice(("v0", "v2", "V1", "v01", "v1.", "v", "", "v1v1", "v\N{SUPERSCRIPT ONE}")) + token[2:]


def _anything(chance: Random, token: str, _: Sequence[str]) -> str:
    size = chance.choice((0, 1, 105, 106, 107, 4000))
    return "".join(chance.choice("v10123456789abcdef") for _turn in range(size))


WAYS: Final[tuple[Forgery, ...]] = (
    _bits,
    _digit,
    _cut,
    _extended,
    _swapped_letters,
    _swapped_parts,
    _expiry_moved,
    _parts_of_another,
    _halves_of_another,
    _session_of_another,
    _signed_by_another,
    _unsigned,
    _base64,
    _other_case,
    _lookalike,
    _invisible,
    _at_the_edge,
    _quoted,
    _other_version,
    _anything,
)


def in_a_url(url: str, text: str) -> str:
    """The URL of a stream with that in place of its token: as it is, once the URL has been read."""
    return url.rpartition("/")[0] + "/" + quote(text, safe="", errors="surrogatepass")
