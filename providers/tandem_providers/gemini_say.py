"""How the agent is asked to speak unprompted. There is nobody but the caller to say so, thus it is put in brackets."""

from __future__ import annotations

from typing import Final

from tandem_providers.commands import Purpose, Say

_OCCASIONS: Final = {
    Purpose.GREETING: "The call has just been answered, and the caller is waiting for your first words.",
    Purpose.STILL_THERE: "The caller has not said anything for a while.",
    Purpose.RESUME: "The line broke for a moment while you were speaking; it is up again.",
    Purpose.MESSAGE: "There is word for the caller from the people you work for.",
    Purpose.GOODBYE: "The call ends now. These are your last words; do not ask anything.",
}
_TASKS: Final = {
    Purpose.GREETING: "Greet the caller in one or two short sentences, as your instructions ask.",
    Purpose.STILL_THERE: "Ask in one short sentence, in the language of the conversation, whether the caller is there.",
    Purpose.RESUME: "Go on with what you were about to say, without greeting again.",
    Purpose.MESSAGE: "Ask in one short sentence, in the language of the conversation, for a moment of patience.",
    Purpose.GOODBYE: "Say goodbye in one short sentence, in the language of the conversation.",
}
NOT_THE_CALLER: Final = "(Not said by the caller.)"


def say_text(say: Say) -> str:
    """What to write to the model for this command."""
    if say.text is None:
        task = _TASKS[say.purpose]
    else:
        # The words stand last, so that no quote or line break among them can end them early.
        task = f'Say exactly the following, word by word, and nothing else: "{say.text}"'
    return f"{NOT_THE_CALLER} {_OCCASIONS[say.purpose]} {task}"
