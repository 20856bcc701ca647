"""The recordings are all there, are speech at a telephone's level, and can be replaced by a folder."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tandem
from tandem_codecs.format import MULAW_8K
from tandem_codecs.g711 import mulaw_to_pcm16
from tandem_providers import prompts
from tandem_providers.errors import InvalidConfigError
from tandem_providers.prompts import NAMES, PromptName, prompt

SPEECH = Path(tandem.__file__).parent / "simulators/speech"


def levels_dbfs(audio: bytes) -> NDArray[np.float64]:
    """Level of each 20 ms frame."""
    samples = np.frombuffer(mulaw_to_pcm16(audio), dtype="<i2").astype(np.float64) / 32768
    frames = samples[: len(samples) // MULAW_8K.frame_bytes * MULAW_8K.frame_bytes].reshape(-1, MULAW_8K.frame_bytes)
    return np.asarray(10 * np.log10(np.mean(frames**2, axis=1) + 1e-12))


def assert_is_speech(audio: bytes) -> None:
    levels = levels_dbfs(audio)
    active = levels[levels > levels.max() - 35]
    assert -22.5 <= 10 * np.log10(np.mean(10 ** (active / 10))) <= -19.5  # the peaks may have held it down a little
    assert levels.max() < -6
    assert len(audio) % MULAW_8K.frame_bytes == 0
    assert np.argmax(levels > -45) <= 5, "silence before the first word"
    assert np.argmax(levels[::-1] > -45) <= 8, "silence after the last word"


@pytest.mark.parametrize("name", NAMES)
def test_prompt_is_speech_with_its_text(name: PromptName) -> None:
    found = prompt(name)
    assert found.name == name
    assert found.text
    assert_is_speech(found.audio)


def test_whole_set_is_small_and_greeting_short() -> None:
    assert sum(len(prompt(name).audio) for name in NAMES) < 500_000
    assert MULAW_8K.milliseconds(len(prompt("greeting").audio)) < 5000


def test_prompt_is_read_once() -> None:
    assert prompt("greeting") is prompt("greeting")


def test_every_phrase_of_the_simulated_caller_has_its_text() -> None:
    texts = tomllib.loads((SPEECH / "texts.toml").read_text(encoding="utf-8"))
    assert {path.stem for path in SPEECH.glob("*.ulaw")} == set(texts)
    for name in texts:
        assert_is_speech((SPEECH / f"{name}.ulaw").read_bytes())


def test_unknown_name_says_which_there_are() -> None:
    with pytest.raises(InvalidConfigError, match=r"'nonsense'.*greeting"):
        prompt("nonsense")  # type: ignore[arg-type]  # what a caller without a type checker may do


def test_folder_replaces_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "greeting.ulaw").write_bytes(b"\x80\x00" * 80)
    (tmp_path / "sorry.ulaw").write_bytes(b"\x80\x00" * 80)
    (tmp_path / "texts.toml").write_text('greeting = "Guten Tag."\n', encoding="utf-8")
    assert prompt("greeting", tmp_path) == prompts.Prompt("greeting", "Guten Tag.", b"\x80\x00" * 80)
    assert prompt("sorry", tmp_path).text == "(sorry)"  # we do not know what it says, and do not claim to
    assert prompt("menu", tmp_path) is prompt("menu")
    assert prompt("greeting", str(tmp_path)) is prompt("greeting", tmp_path)


def wav(folder: Path) -> str:
    (folder / "menu.ulaw").write_bytes(b"RIFF0000WAVE")
    return "WAV"


def nothing(folder: Path) -> str:
    (folder / "menu.ulaw").touch()
    return "0.0 s"


def endless(folder: Path) -> str:
    (folder / "menu.ulaw").write_bytes(MULAW_8K.silence(61_000))
    return "61.0 s"


def misspelt(folder: Path) -> str:
    (folder / "greetings.ulaw").write_bytes(MULAW_8K.silence(100))
    return "greetings.ulaw"


def broken_texts(folder: Path) -> str:
    (folder / "menu.ulaw").write_bytes(MULAW_8K.silence(100))
    (folder / "texts.toml").write_text("menu =", encoding="utf-8")
    return "texts.toml"


def texts_of_another_kind(folder: Path) -> str:
    (folder / "texts.toml").write_text("menu = 1", encoding="utf-8")
    return "menu must be text"


def unreadable(folder: Path) -> str:
    (folder / "menu.ulaw").mkdir()
    return "can not be read"


@pytest.mark.parametrize("spoil", [wav, nothing, endless, misspelt, broken_texts, texts_of_another_kind, unreadable])
def test_folder_that_can_not_be_used_is_refused_with_the_reason(tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    reason = spoil(tmp_path)
    with pytest.raises(InvalidConfigError, match=reason):
        prompt("greeting", tmp_path)


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match="no folder"):
        prompt("greeting", tmp_path / "nowhere")
