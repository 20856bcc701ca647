"""What a Gemini session is asked for, and what is refused before anything is dialled."""

from __future__ import annotations

from typing import Any

import pytest
from gemini_play import EXTENDED_38, FLASH_31, GENERATIONS, LIVE_38, NATIVE_25, Play

from tandem_providers.config import FunctionDeclaration, ProcessConfig
from tandem_providers.errors import InvalidConfigError
from tandem_providers.events import ProviderWarning
from tandem_providers.gemini_models import MODELS, VOICES, generation_of, voice_named

VERTEX: dict[str, Any] = {"vertex": True, "project": "p", "access_token": "t"}
F = [FunctionDeclaration("f", "does it"), FunctionDeclaration("g")]


def setup(extensions: dict[str, Any] | None = None, model: str = LIVE_38, **fields: Any) -> dict[str, Any]:
    options = {name: fields.pop(name) for name in list(fields) if name not in ProcessConfig.__dataclass_fields__}
    config = ProcessConfig(extensions=extensions or {}, **fields)
    made: dict[str, Any] = Play(config, model=model, ready=False, **options).setup
    return made


def refusal(extensions: dict[str, Any] | None = None, **fields: Any) -> str:
    with pytest.raises(InvalidConfigError) as error:
        setup(extensions, **fields)
    assert error.value.provider == "gemini"
    return error.value.message


def test_what_is_asked_for_when_nothing_is_set() -> None:
    assert setup() == {
        "model": "models/gemini-3.8-live",
        "generationConfig": {"responseModalities": ["AUDIO"]},
        "realtimeInputConfig": {"automaticActivityDetection": {}},
        "sessionResumption": {},
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        "contextWindowCompression": {"slidingWindow": {}},
    }


def test_every_field_of_the_configuration_arrives() -> None:
    made = setup(instructions="Be kind.", voice="kore", temperature=0.7, functions=F)
    assert made["systemInstruction"] == {"parts": [{"text": "Be kind."}]}
    assert made["generationConfig"] == {
        "responseModalities": ["AUDIO"],
        "temperature": 0.7,
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }
    parameters = {"type": "object", "properties": {}}
    assert made["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "does it", "parametersJsonSchema": parameters},
                {"name": "g", "description": "", "parametersJsonSchema": parameters},
            ]
        }
    ]


def test_every_extension_arrives() -> None:
    made = setup(
        {
            "language": "de-DE",
            "top_p": 0.9,
            "top_k": 40,
            "max_output_tokens": 500,
            "seed": 7,
            "presence_penalty": 0.1,
            "frequency_penalty": -0.1,
            "media_resolution": "low",
            "thinking": {"budget": 0, "include_thoughts": False},
            "affective_dialog": True,
            "proactive_audio": True,
            "start_sensitivity": "START_SENSITIVITY_HIGH",
            "end_sensitivity": "low",
            "prefix_padding_ms": 20,
            "silence_ms": 400,
            "activity_handling": "no_interruption",
            "turn_coverage": "only-activity",
            "compression": {"trigger_tokens": 25600, "target_tokens": 12800},
            "input_transcription": {"language_codes": ["de"], "mode": "smart"},
            "output_transcription": False,
            "google_search": True,
            "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "labels": {"team": "a"},
        },
        model=NATIVE_25,
    )
    assert made == {
        "model": f"models/{NATIVE_25}",
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "topP": 0.9,
            "topK": 40,
            "maxOutputTokens": 500,
            "seed": 7,
            "presencePenalty": 0.1,
            "frequencyPenalty": -0.1,
            "enableAffectiveDialog": True,
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
            "speechConfig": {"languageCode": "de-DE"},
            "thinkingConfig": {"thinkingBudget": 0, "includeThoughts": False},
        },
        "realtimeInputConfig": {
            "automaticActivityDetection": {
                "startOfSpeechSensitivity": "START_SENSITIVITY_HIGH",
                "endOfSpeechSensitivity": "END_SENSITIVITY_LOW",
                "prefixPaddingMs": 20,
                "silenceDurationMs": 400,
            },
            "activityHandling": "NO_INTERRUPTION",
            "turnCoverage": "TURN_INCLUDES_ONLY_ACTIVITY",
        },
        "sessionResumption": {},
        "tools": [{"googleSearch": {}}],
        "inputAudioTranscription": {"languageCodes": ["de"], "mode": "SMART"},
        "contextWindowCompression": {"triggerTokens": "25600", "slidingWindow": {"targetTokens": "12800"}},
        "proactivity": {"proactiveAudio": True},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "labels": {"team": "a"},
    }


def test_options_say_the_same_as_extensions_which_win() -> None:
    options = {
        "language": "de-DE",
        "start_sensitivity": "high",
        "end_sensitivity": "low",
        "silence_ms": "300",
        "thinking": "0",
        "voice": "Puck",
    }
    made = setup({"silence_ms": 200}, model=NATIVE_25, **options)
    assert made["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0}
    assert made["generationConfig"]["speechConfig"]["languageCode"] == "de-DE"
    assert made["realtimeInputConfig"]["automaticActivityDetection"] == {
        "startOfSpeechSensitivity": "START_SENSITIVITY_HIGH",
        "endOfSpeechSensitivity": "END_SENSITIVITY_LOW",
        "silenceDurationMs": 200,
    }


@pytest.mark.parametrize(
    ("model", "thinking", "made"),
    [
        (NATIVE_25, None, None),
        (NATIVE_25, 512, {"thinkingBudget": 512}),
        (NATIVE_25, "-1", {"thinkingBudget": -1}),
        (FLASH_31, "low", {"thinkingLevel": "LOW"}),
        (LIVE_38, None, None),
        (EXTENDED_38, None, {"thinkingLevel": "LOW"}),
        (EXTENDED_38, "high", {"thinkingLevel": "HIGH"}),
        (EXTENDED_38, '{"include_thoughts": true}', {"thinkingLevel": "LOW", "includeThoughts": True}),
    ],
)
def test_thinking_as_the_generation_has_it(model: str, thinking: Any, made: Any) -> None:
    assert setup(model=model, thinking=thinking)["generationConfig"].get("thinkingConfig") == made


def test_a_model_that_is_always_proactive_is_not_told_to_be() -> None:
    assert "proactivity" not in setup({"proactive_audio": True})


def test_who_waits_for_a_function_and_when_it_is_spoken_about() -> None:
    made = setup({"function_behavior": {"f": "blocking"}}, functions=F)
    f, g = made["tools"][0]["functionDeclarations"]
    assert f["behavior"] == "BLOCKING"
    assert "behavior" not in g


def test_vertex_names_models_by_project_and_place() -> None:
    assert setup(**VERTEX)["model"] == "projects/p/locations/global/publishers/google/models/gemini-3.8-live"
    assert setup(**VERTEX, model="publishers/google/models/gemini-live-2.5-flash-native-audio", location="eu")[
        "model"
    ] == ("projects/p/locations/eu/publishers/google/models/gemini-live-2.5-flash-native-audio")
    assert setup({"explicit_vad": True}, **VERTEX)["explicitVadSignal"] is True


@pytest.mark.parametrize(
    ("extensions", "fields", "words"),
    [
        ({"sensitivity": "high"}, {}, "unknown sensitivity"),
        ({"top_p": 1.5}, {}, "extensions['top_p']"),
        ({"start_sensitivity": "medium"}, {}, "start_sensitivity"),
        ({"silence_ms": -1}, {}, "silence_ms"),
        ({"thinking": "low"}, {}, "takes no such setting"),
        ({}, {"thinking": "low"}, "thinking (GEMINI_THINKING)"),
        ({"thinking": "low"}, {"model": NATIVE_25}, "budget"),
        ({"thinking": 100}, {"model": FLASH_31}, "level"),
        ({"thinking": "minimal"}, {"model": EXTENDED_38}, "low, medium or high"),
        ({"thinking": {"depth": 1}}, {"model": FLASH_31}, "depth"),
        ({"proactive_audio": False}, {}, "always"),
        ({"proactive_audio": True}, {"model": FLASH_31}, "has none"),
        ({"affective_dialog": True}, {}, "has none"),
        ({"function_behavior": "non_blocking"}, {"model": FLASH_31, "functions": F}, "BLOCKING"),
        ({"function_behavior": {"f": "blocking"}}, {"model": EXTENDED_38, "functions": F}, "NON_BLOCKING"),
        ({"function_behavior": {"h": "blocking"}}, {"functions": F}, "no function 'h'"),
        ({"function_scheduling": "silent"}, {"model": NATIVE_25, "functions": F}, "leaves no choice"),
        ({"function_scheduling": "silent"}, {**VERTEX, "functions": F}, "Vertex AI does not heed it"),
        ({"labels": {"a": "b"}}, VERTEX, "only the Gemini API"),
        ({"explicit_vad": True}, {}, "only Vertex AI"),
        ({"turn_detection": "none", "silence_ms": 5}, {}, "without turn detection"),
        ({"turn_detection": "sometimes"}, {}, "turn_detection"),
        ({"compression": {"trigger": 1}}, {}, "compression"),
        ({"input_transcription": "{broken"}, {}, "input_transcription"),
        ({}, {"temperature": 3.0}, "0 to 2"),
        ({}, {"voice": "marin"}, "GEMINI_VOICE"),
        ({}, {"functions": [FunctionDeclaration("1f")]}, "functions['1f']"),
        ({}, {"functions": [F[0], F[0]]}, "declared twice"),
        ({}, {"functions": [FunctionDeclaration("f", "", {"type": "string"})]}, "type object"),
        ({}, {"functions": [FunctionDeclaration("f", "", {"type": object()})]}, "no JSON"),
        ({}, {"model": "gemini-3.5-transcribe-live"}, "does not hold conversations"),
    ],
)
def test_what_is_refused_names_the_setting_and_why(
    extensions: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    assert words in refusal(extensions, **fields)


def test_a_voice_or_model_that_is_not_known_is_passed_on_and_told() -> None:
    play = Play(model="gemini-9-live", voice="Nova")
    assert play.setup["model"] == "models/gemini-9-live"
    assert play.setup["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"] == "Nova"
    codes = [warning.code for warning in play.take() if isinstance(warning, ProviderWarning)]
    assert codes == ["unknown_voice", "unknown_model"]


def test_generations_are_known_by_the_models_names() -> None:
    assert {generation_of(f"models/{model}").name for model in GENERATIONS} == {g.name for g in MODELS.values()}
    assert generation_of("gemini-3.1-flash-live-001") is generation_of(FLASH_31)
    assert generation_of("gemini-2.5-anything") is generation_of(NATIVE_25)
    assert generation_of("gemini-4-live-extended-thinking") is generation_of(EXTENDED_38)
    assert generation_of("something-new") is generation_of(LIVE_38)
    assert len(VOICES) == len(set(VOICES)) == 30
    assert voice_named("sulafat") == "Sulafat"
