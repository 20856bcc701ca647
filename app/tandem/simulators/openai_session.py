"""The session's settings: what is in effect, and how an update changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tandem.simulators.openai_checks import Refused
from tandem.simulators.openai_schema import check_model
from tandem_codecs.format import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat

FORMATS: Final[Mapping[str, AudioFormat]] = {
    "audio/pcm": PCM16_24K,
    "audio/pcmu": MULAW_8K,
    "audio/pcma": ALAW_8K,
}
_PCM: Final[Mapping[str, Any]] = {"type": "audio/pcm", "rate": 24000}
_DEFAULT_INSTRUCTIONS: Final = "You are a friendly voice assistant. Be brief, warm and quick."

_VAD_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    # The documentation says 500 ms of silence; a session that does not ask gets 200.
    "server_vad": {
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    },
    "semantic_vad": {"eagerness": "auto", "create_response": True, "interrupt_response": True},
}


def format_of(wire: Mapping[str, Any]) -> AudioFormat:
    """The format that a `format` object says."""
    known = FORMATS[wire["type"]]
    return AudioFormat(known.encoding, wire.get("rate", known.rate))


def _full_format(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {**_PCM, **asked} if asked["type"] == "audio/pcm" else {"type": asked["type"]}


def _full_detection(asked: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if asked is None else {"type": asked["type"], **_VAD_DEFAULTS[asked["type"]], **asked}


class SessionSettings:
    """What is in effect. `wire` is the object that `session.created` and `session.updated` carry."""

    def __init__(self, session_id: str, model: str, expires_at: int) -> None:
        self.spoken = False
        """Whether the model has produced audio: its voice is fixed from then on."""
        self._is_swapped = False
        self.wire: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "model": model,
            "output_modalities": ["audio"],
            "instructions": _DEFAULT_INSTRUCTIONS,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "truncation": "auto",
            "tracing": None,
            "prompt": None,
            "expires_at": expires_at,
            "audio": {
                "input": {
                    "format": dict(_PCM),
                    "transcription": None,
                    "noise_reduction": None,
                    "turn_detection": _full_detection({"type": "server_vad"}),
                },
                "output": {"format": dict(_PCM), "voice": "marin", "speed": 1.0},
            },
            "include": None,
        }

    @property
    def input(self) -> dict[str, Any]:
        """The `audio.input` object."""
        audio: dict[str, Any] = self.wire["audio"]["input"]
        return audio

    @property
    def output(self) -> dict[str, Any]:
        """The `audio.output` object."""
        audio: dict[str, Any] = self.wire["audio"]["output"]
        return audio

    @property
    def input_format(self) -> AudioFormat:
        return format_of(self.input["format"])

    @property
    def output_format(self) -> AudioFormat:
        return format_of(self.output["format"])

    @property
    def detection(self) -> Mapping[str, Any] | None:
        """The `turn_detection` object; None is push-to-talk."""
        detection: Mapping[str, Any] | None = self.input["turn_detection"]
        return detection

    def update(self, asked: Mapping[str, Any]) -> None:
        """Apply a checked `session` object: fields that are absent keep their values.

        Raises:
            Refused: something in it can't be changed (any more); nothing was applied.
        """
        self._check_fixed(asked)
        audio = asked.get("audio", {})
        self._update_input(audio.get("input", {}))
        output = dict(audio.get("output", {}))
        if "format" in output:
            output["format"] = _full_format(output["format"])
            self._is_swapped = False
        self.output.update(output)
        self.wire.update({name: value for name, value in asked.items() if name != "audio"})

    def confirm_another_format(self) -> None:
        """Pretend that another output format than the one asked for was asked for."""
        asked = self.output["format"]["type"]
        if not self._is_swapped:
            self.output["format"] = {"type": "audio/pcmu"} if asked == "audio/pcm" else dict(_PCM)
            self._is_swapped = True

    def _check_fixed(self, asked: Mapping[str, Any]) -> None:
        model = self.wire["model"]
        if asked.get("model", model) != model:
            raise Refused(
                f"Cannot update a session's model: it was opened with '{model}'.",
                "cannot_update_model",
                "session.model",
            )
        check_model(asked, model, "session")
        voice = asked.get("audio", {}).get("output", {}).get("voice", self.output["voice"])
        if self.spoken and voice != self.output["voice"]:
            raise Refused(
                "Cannot update a conversation's voice if assistant audio is present.",
                "cannot_update_voice",
                "session.audio.output.voice",
            )
        tracing = self.wire["tracing"]
        if tracing is not None and asked.get("tracing", tracing) != tracing:
            raise Refused("Tracing can't be changed once it is enabled.", "invalid_value", "session.tracing")

    def _update_input(self, asked: Mapping[str, Any]) -> None:
        change = dict(asked)
        if "format" in change:
            change["format"] = _full_format(change["format"])
        if "turn_detection" in change:
            change["turn_detection"] = _full_detection(change["turn_detection"])
        if change.get("noise_reduction"):
            kept = self.input["noise_reduction"] or {"strength": 1.0}
            change["noise_reduction"] = {"strength": kept["strength"], **change["noise_reduction"]}
        self.input.update(change)
