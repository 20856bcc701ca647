"""Commands as messages; the vendor's library reads every one of them."""

from __future__ import annotations

import json

import pytest
from openai_play import Play, client, created, done, server

from tandem_codecs.format import MULAW_8K
from tandem_providers.commands import (
    CancelResponse,
    CommitTurn,
    PlaybackReport,
    Purpose,
    Say,
    SendDtmf,
    SendText,
    ToolResult,
)
from tandem_providers.events import ProviderWarning, TurnEnded, TurnStarted

CREATE = {"type": "response.create"}


def test_text_is_put_in_and_answered() -> None:
    play = Play()
    content = [{"type": "input_text", "text": "What time is it?"}]
    (
        play
        >> SendText("What time is it?")
        << [
            {
                "type": "conversation.item.create",
                "item": {"type": "message", "role": "user", "content": content},
            },
            {"type": "response.create", "response": {"metadata": {"client_event_id": "tandem_reply_1"}}},
        ]
    )


def test_text_that_only_informs() -> None:
    (
        Play()
        >> SendText("The caller is a member.", "system", respond=False)
        << {
            "type": "conversation.item.create",
            "item": {"role": "system"},
        }
    )


def test_keys_are_told_in_words_and_answered_together() -> None:
    play = Play()
    play >> created("resp_1") << TurnStarted
    for digit in "1#":
        (
            play
            >> SendDtmf(digit)
            << {
                "type": "conversation.item.create",
                "item": {
                    "role": "user",
                    "content": [{"type": "input_text", "text": f"The caller pressed {digit} on the keypad."}],
                },
            }
        )
    play >> done("resp_1") << [TurnEnded, CREATE]


def test_ids_are_never_used_twice() -> None:
    play = Play()
    ids: list[str] = []
    for _ in range(20):
        for message in (play >> SendText("x")).take() + (play >> Say(Purpose.GREETING)).take():
            ids.append(message["event_id"])
            if "item" in message:
                ids.append(message["item"]["id"])
                assert len(message["item"]["id"]) <= 32
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "command",
    [
        SendText("x"),
        SendDtmf("1"),
        Say(Purpose.GREETING),
        CommitTurn(),
        CancelResponse(),
        PlaybackReport("i", "r", 0, 1, 2),
        ToolResult("c", "x"),
    ],
)
def test_commands_before_ready_and_after_the_end_do_nothing(
    command: SendText | SendDtmf | Say | CommitTurn | CancelResponse | PlaybackReport | ToolResult,
) -> None:
    play = Play(ready=False)
    assert play.protocol.send(command) == []
    (update,) = play.protocol.outgoing()
    assert json.loads(update)["type"] == "session.update"


def test_a_request_that_was_refused_is_made_again_and_holds_up_nothing() -> None:
    play = Play()
    play >> Say(Purpose.GREETING) << CREATE
    play >> SendText("x") << {"type": "conversation.item.create"}
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "no", "event_id": "tandem_say_1"}
    play >> server("error", error=error) << ProviderWarning
    play.listen(600) << CREATE


def test_a_request_that_is_never_answered_is_made_again() -> None:
    play = Play()
    play >> Say(Purpose.GREETING) << {"type": "response.create", "event_id": "tandem_say_1"}
    play.listen(9980).silence()
    play.listen(20) << {"type": "response.create", "event_id": "tandem_say_2"}
    play >> created("resp_1", "tandem_say_1") << [TurnStarted, {"type": "response.cancel", "response_id": "resp_1"}]


def test_time_does_not_fly_while_kept_audio_is_caught_up_with() -> None:
    play = Play()
    play >> Say(Purpose.GREETING) << CREATE
    kept = play.protocol.audio(MULAW_8K.silence(30_000))
    assert [client(message)["type"] for message in kept] == ["input_audio_buffer.append"]
    play.listen(9780).silence()
    play.listen(20) << CREATE
