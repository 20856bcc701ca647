"""How the agent is asked to speak unprompted.

The instructions of a single response replace those of the session, so the session's own come first here.
"""

from __future__ import annotations

from typing import Any, Final

from tandem_providers.commands import Purpose, Say
from tandem_providers.openai_session import SessionPlan

_OCCASIONS: Final = {
    Purpose.GREETING: "The call has just been answered and the caller is waiting for your first words.",
    Purpose.STILL_THERE: "The caller has not said anything for a while.",
    Purpose.RESUME: "The line broke for a moment and is back. The caller may not have heard all that you said last.",
    Purpose.MESSAGE: "There is something that the caller has to be told now.",
    Purpose.GOODBYE: "The call ends now. These are your last words; do not ask anything.",
}
_OPEN_TASKS: Final = {
    Purpose.GREETING: "Greet the caller in one or two short sentences, as your instructions ask.",
    Purpose.STILL_THERE: "Ask in one short sentence, in the language of the conversation, whether the caller is there.",
    Purpose.RESUME: "Go on where you were, in the language of the conversation. Do not greet the caller again.",
    Purpose.MESSAGE: "Tell the caller in one short sentence, in the language of the conversation, that you are there.",
    Purpose.GOODBYE: "Say goodbye in one short sentence, in the language of the conversation.",
}


def say_body(say: Say, plan: SessionPlan) -> dict[str, Any]:
    """The `response` of a `response.create` for this command."""
    if say.text is None:
        task = _OPEN_TASKS[say.purpose]
    else:
        # The words stand last, so that no quote or line break among them can end them early.
        task = f'Say exactly the following, word by word, and nothing else: "{say.text}"'
    parts = (plan.instructions, f"{_OCCASIONS[say.purpose]} {task}")
    body: dict[str, Any] = {"instructions": "\n\n".join(part for part in parts if part)}
    if plan.has_tools and plan.profile.chooses_tools:
        body["tool_choice"] = "none"
    return body


def forced_words(say: Say, plan: SessionPlan) -> dict[str, Any] | None:
    """The item that makes the provider speak just these words, where there is such a thing."""
    if say.text is None or not plan.profile.forces_words:
        return None
    content = [{"type": "output_text", "text": say.text}]
    return {"type": "force_message", "role": "assistant", "content": content}
