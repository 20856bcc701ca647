"""What an agent is told that is not the caller's: where a vendor's agent listens to nobody else.

Such agents answer at once to whatever is written to them, and drop what they were saying. So asides wait until nobody
speaks, one after the other. `Asides` is the line in which they wait; whoever owns it decides when the next may go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem_providers.commands import Purpose, Say, SendDtmf, SendText

NOT_THE_CALLER: Final = "(Not said by the caller.)"
_OCCASIONS: Final = {
    Purpose.GREETING: "The call has just been answered, and the caller waits for your first words.",
    Purpose.STILL_THERE: "Nothing has been heard from the caller for a while.",
    Purpose.RESUME: "The line broke off for a moment and is back; your last words may not all have been heard.",
    Purpose.MESSAGE: "There is something that the caller has to know now.",
    Purpose.GOODBYE: "The call is about to end. These will be your last words, so ask nothing.",
}
_TASKS: Final = {
    Purpose.GREETING: "Greet the caller in one or two short sentences, as your instructions have it.",
    Purpose.STILL_THERE: "Ask briefly, in the language of the conversation, whether the caller is still there.",
    Purpose.RESUME: "Take up where you were, in the language of the conversation, and do not greet again.",
    Purpose.MESSAGE: "Let the caller know, in one short sentence, that you are still on the line.",
    Purpose.GOODBYE: "Say goodbye in one short sentence, in the language of the conversation.",
}


@dataclass(frozen=True, slots=True)
class Aside:
    """One thing to be told to the agent, or to be said by it."""

    text: str
    verbatim: bool = False
    """The agent shall say just this. Else it is told this, and answers."""
    purpose: Purpose | None = None
    """What it shall speak for; None: somebody wrote to it."""


def direction(say: Say) -> str:
    """The words that make an agent speak unprompted, for one that can only be written to."""
    if say.text is None:
        task = _TASKS[say.purpose]
    else:
        # The words come last: neither quotes nor line breaks in them can end them early.
        task = f'Say exactly the following, word by word, and nothing else: "{say.text}"'
    return f"{NOT_THE_CALLER} {_OCCASIONS[say.purpose]} {task}"


def written(command: SendText) -> str:
    """Text that the agent shall answer. There is no role but the caller's, so a word says whose it is."""
    return command.text if command.role == "user" else f"{NOT_THE_CALLER} {command.text}"


def noted(command: SendText) -> str:
    """Text that the agent shall only know of."""
    return command.text if command.role == "system" else f"The caller has written: {command.text}"


def pressed(command: SendDtmf) -> str:
    return f"The caller pressed {command.digit} on the keypad."


class Asides:
    """Asides that wait, in the order in which they shall be told."""

    def __init__(self) -> None:
        self._waiting: list[Aside] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, aside: Aside) -> None:
        """What the agent shall say goes before what it shall answer. A wish replaces an older one for the same
        purpose, but for messages, each of which is wanted; a farewell replaces everything."""
        if aside.purpose is Purpose.GOODBYE:
            self._waiting = [aside]
            return
        if aside.purpose not in (None, Purpose.MESSAGE):
            self._waiting = [other for other in self._waiting if other.purpose is not aside.purpose]
        if aside.purpose is None:
            self._waiting.append(aside)
            return
        spoken = [other for other in self._waiting if other.purpose is not None]
        self._waiting = [*spoken, aside, *(other for other in self._waiting if other.purpose is None)]

    def put_back(self, aside: Aside) -> None:
        """It was refused: first in line again, unless it has been replaced meanwhile."""
        farewell = any(other.purpose is Purpose.GOODBYE for other in self._waiting)
        replaced = aside.purpose not in (None, Purpose.MESSAGE) and any(
            other.purpose is aside.purpose for other in self._waiting
        )
        if not farewell and not replaced:
            self._waiting.insert(0, aside)

    def cancel(self) -> None:
        """The caller speaks: what the agent was to say of its own accord is not wanted any more. Messages and the
        farewell are."""
        kept = (None, Purpose.MESSAGE, Purpose.GOODBYE)
        self._waiting = [aside for aside in self._waiting if aside.purpose in kept]

    def take(self) -> Aside | None:
        """The next one. Texts to be answered that stand one behind the other need one answer, so they are one."""
        if not self._waiting:
            return None
        first = self._waiting.pop(0)
        if first.purpose is not None:
            return first
        texts = [first.text]
        while self._waiting and self._waiting[0].purpose is None:
            texts.append(self._waiting.pop(0).text)
        return Aside("\n".join(texts))
