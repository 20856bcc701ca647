"""The environment: what is accepted, what is refused and how it is told, and that no secret is ever shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from tandem.settings import DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN, Settings, SettingsError, load
from tandem.simulators.telnyx_http import DEMO_SEED, public_key
from tandem_providers.options import option_infos
from tandem_providers.table import KINDS, ProviderKind

SID = "AC" + "1a" * 16


def settings(env: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    return load(env or {}, dotenv)


def problems(env: Mapping[str, str], dotenv: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(env, dotenv)
    return list(caught.value.problems)


def test_an_empty_environment_is_a_working_one() -> None:
    found = settings()
    assert (found.host, found.port, found.origin) == ("127.0.0.1", 8000, "http://localhost:8000")
    assert [choice.name for choice in found.choices] == ["echo"]
    assert (found.max_call_seconds, found.silence_seconds, found.drain_seconds, found.connect_seconds) == (
        3600,
        60,
        3600,
        5,
    )
    assert (found.log_level, found.log_redact) == ("info", True)
    assert found.warnings == ()


def test_random_secrets_differ_from_start_to_start() -> None:
    first, second = settings(), settings()
    assert first.secret_key.get_secret_value() != second.secret_key.get_secret_value()
    assert first.api_token.get_secret_value() != second.api_token.get_secret_value()
    assert len(first.secret_key.get_secret_value()) >= 32
    assert first.api_token_is_ours
    assert not settings({"API_TOKEN": "given"}).api_token_is_ours


def test_an_empty_value_is_an_unset_one() -> None:
    found = settings({"PORT": "", "PROVIDERS": "  ", "OPENAI_API_KEY": "", "PUBLIC_URL": "", "LOG_REDACT": ""})
    assert found.port == 8000
    assert [choice.name for choice in found.choices] == ["echo"]


def test_all_problems_are_told_at_once_with_the_variable_and_what_stood_there() -> None:
    told = problems(
        {"PORT": "eighty", "MAX_CALLS": "0", "LOG_LEVEL": "loud", "OPENAI_API_KEI": "x", "PROVIDERS": "opnai"}
    )
    text = "\n".join(told)
    assert len(told) == 5
    assert "PORT: 'eighty'" in text
    assert "MAX_CALLS: '0'" in text
    assert "LOG_LEVEL: 'loud'" in text
    assert "OPENAI_API_KEI: there is no such variable; did you mean OPENAI_API_KEY?" in text
    assert "no provider 'opnai'" in text
    assert "did you mean openai?" in text


@pytest.mark.parametrize("name", ["API_TOKEN", "PLIVO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN"])
def test_a_bad_secret_is_refused_without_being_shown(name: str) -> None:
    told = problems({name: "päss wörd", "TWILIO_ACCOUNT_SID": SID})
    assert any(line.startswith(f"{name}: has characters") for line in told)
    assert "wörd" not in "\n".join(told)


def test_no_way_of_printing_the_settings_shows_a_secret() -> None:
    planted = {
        "SECRET_KEY": "planted-secret-key",
        "API_TOKEN": "planted-api-token",
        "TWILIO_ACCOUNT_SID": SID,
        "TWILIO_AUTH_TOKEN": "planted-auth-token",
        "OPENAI_API_KEY": "sk-planted-openai",
    }
    found = settings(planted)
    shown = f"{found} {found!r} {found.model_dump()} {found.model_dump_json()} {found.twilio} {found.choices}"
    for name, value in planted.items():
        assert name == "TWILIO_ACCOUNT_SID" or value not in shown, name
    assert set(found.secret_values()) >= {v for k, v in planted.items() if k != "TWILIO_ACCOUNT_SID"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TWILIO_AUTH_TOKE", "TWILIO_AUTH_TOKEN"),
        ("OPENAI_MODELL", "OPENAI_MODEL"),
        ("TANDEM_PUBLIC_URL", "PUBLIC_URL"),
        ("GEMINI_XYZZY_XYZZY_XYZZY", ""),
    ],
)
def test_an_unknown_name_with_one_of_our_prefixes_is_refused(name: str, hint: str) -> None:
    (told,) = problems({name: "value"})
    assert told.startswith(f"{name}: there is no such variable")
    assert told.endswith(f"did you mean {hint}?" if hint else "variable")
    assert "value" not in told


def test_a_near_miss_without_a_prefix_is_only_a_warning() -> None:
    found = settings({"PROVIDER": "echo", "HOSTNAME": "box", "PATH": "/bin", "PORTS": "1"})
    assert [w.split()[0] for w in found.warnings] == ["PORTS", "PROVIDER"] or [
        w.split()[0] for w in found.warnings
    ] == ["PROVIDER"]


def test_what_kubernetes_adds_for_a_service_of_our_name_is_left_alone() -> None:
    assert settings(
        {"TANDEM_PORT": "tcp://10.0.0.1:80", "TANDEM_SERVICE_HOST": "10.0.0.1", "TANDEM_SERVICE_PORT_HTTP": "80"}
    )
    assert problems({"TANDEM_PORT": "9000"}) == ["TANDEM_PORT: there is no such variable; did you mean PORT?"]


def test_a_key_of_a_provider_that_is_not_in_use_is_a_secret_all_the_same() -> None:
    env = {"PROVIDERS": "echo,openai@spare", "OPENAI_API_KEY": "planted-1", "GEMINI_API_KEY": "planted-2"}
    assert set(settings(env | {"SPARE_OPENAI_API_KEY": "planted-3"}).secret_values()) >= {
        "planted-1",
        "planted-2",
        "planted-3",
    }


# Providers


def test_a_key_selects_its_provider_and_echo_is_no_silent_fallback() -> None:
    assert [choice.name for choice in settings({"OPENAI_API_KEY": "sk-1"}).choices] == ["openai"]


def test_echo_may_be_asked_for_behind_a_paid_provider() -> None:
    found = settings({"OPENAI_API_KEY": "sk-1", "PROVIDERS": "openai, echo"})
    assert [choice.name for choice in found.choices] == ["openai", "echo"]


def test_a_second_instance_reads_its_own_variables_first() -> None:
    found = settings(
        {
            "PROVIDERS": "openai,openai@backup",
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_MODEL": "shared",
            "BACKUP_OPENAI_API_KEY": "sk-2",
            "BACKUP_OPENAI_REALTIME_URL": "wss://backup.example.com/v1/realtime",
        }
    )
    first, second = (choice.options for choice in found.choices)
    assert (first.api_key, second.api_key) == ("sk-1", "sk-2")
    assert first.model == second.model == "shared"
    assert second.url == "wss://backup.example.com/v1/realtime"
    assert first.url != second.url


def test_a_misspelt_variable_of_an_instance_is_refused_too() -> None:
    env = {"PROVIDERS": "openai@backup", "OPENAI_API_KEY": "sk-1", "BACKUP_OPENAI_MODLE": "m"}
    assert problems(env) == ["BACKUP_OPENAI_MODLE: there is no such variable; did you mean BACKUP_OPENAI_MODEL?"]


def test_a_variable_of_an_instance_that_is_not_used_is_told() -> None:
    (told,) = settings({"OPENAI_API_KEY": "sk-1", "BACKUP_OPENAI_API_KEY": "sk-2"}).warnings
    assert told == "BACKUP_OPENAI_API_KEY does nothing: PROVIDERS names no openai@backup"


@pytest.mark.parametrize(
    ("value", "said"),
    [("echo,echo", "there twice"), (",", "names no provider"), ("openai@", "no provider"), ("echo@a b", "no provider")],
)
def test_a_bad_list_of_providers_is_refused(value: str, said: str) -> None:
    assert any(said in told for told in problems({"PROVIDERS": value}))


# PUBLIC_URL


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://voice.example.com", "https://voice.example.com"),
        ("https://Voice.Example.com/", "https://voice.example.com"),
        ("http://localhost:9000", "http://localhost:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
    ],
)
def test_public_url_is_an_origin(given: str, origin: str) -> None:
    assert settings({"PUBLIC_URL": given}).origin == origin


def test_an_instance_may_have_an_origin_of_its_own() -> None:
    one = settings({"PUBLIC_URL": "https://voice.example.com"})
    assert one.own_origin == one.origin
    assert one.origins == (one.origin,)
    several = settings({"PUBLIC_URL": "https://voice.example.com", "INSTANCE_URL": "https://voice-1.example.com/"})
    assert several.own_origin == "https://voice-1.example.com"
    assert several.origins == (one.origin, several.own_origin)
    (told,) = problems({"INSTANCE_URL": "https://voice.example.com/one"})
    assert told.startswith("INSTANCE_URL")
    for name, other in (("PUBLIC_URL", "INSTANCE_URL"), ("INSTANCE_URL", "PUBLIC_URL")):
        found = settings({name: "http://voice.example.com", other: "https://voice-1.example.com"})
        assert f"{name} is not https" in " ".join(found.warnings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("voice.example.com", "https://voice.example.com"),
        ("wss://voice.example.com", "use http:// or https://"),
        ("ftp://voice.example.com", "use http:// or https://"),
        ("https://voice.example.com/twilio", "without a path"),
        ("https://voice.example.com?x=1", "without a path"),
        ("https://user@voice.example.com", "scheme and host only"),
        ("https://", "scheme and host only"),
        ("https://my_host.example.com", "underscore"),
        ("https://voice.example.com:99999", "port"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(given: str, said: str) -> None:
    (told,) = problems({"PUBLIC_URL": given})
    assert told.startswith("PUBLIC_URL: ")
    assert said in told


def test_plain_http_for_the_world_is_a_warning() -> None:
    assert "wss" in settings({"PUBLIC_URL": "http://voice.example.com"}).warnings[0]
    assert settings({"PUBLIC_URL": "http://127.0.0.1:8000"}).warnings == ()


# Twilio


def test_an_expensive_way_out_is_a_warning_and_is_used_all_the_same() -> None:
    given = {
        "OPENAI_API_KEY": "any",
        "FAILOVER_NUMBER": "+49900123456",
        "BUILTIN_TOOLS": "transfer_call",
        "TRANSFER_TARGETS": "sales=+15551234567,hotline=+19005551234",
    }
    found = settings(given)
    assert [warning.partition(" is used")[0] for warning in found.warnings] == [
        "TRANSFER_TARGETS: hotline",
        "FAILOVER_NUMBER",
    ]
    assert "must be named by OUTBOUND_ALLOW" in found.warnings[1]
    assert found.failover_number == "+49900123456"
    assert found.tools.targets["hotline"] == "+19005551234"
    assert not settings({**given, "OUTBOUND_ALLOW": "+49900,+1,+1900"}).warnings
    assert [warning.split()[-1] for warning in settings({**given, "OUTBOUND_ALLOW": "+49900,+1900"}).warnings] == ["it"]


def test_without_any_key_the_demo_account_is_accepted() -> None:
    account = settings().twilio
    assert account is not None
    assert (account.account_sid, account.auth_token, account.demo) == (DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN, True)


def test_with_a_paid_provider_and_no_account_nobody_is_accepted() -> None:
    assert settings({"OPENAI_API_KEY": "sk-1"}).twilio is None
    assert settings({"OPENAI_API_KEY": "sk-1", "PROVIDERS": "openai,echo"}).twilio is None


@pytest.mark.parametrize("carrier", ["telnyx", "plivo"])
def test_an_account_with_any_carrier_shuts_the_demo_one_out(carrier: str) -> None:
    key = public_key(DEMO_SEED)
    accounts = {
        "telnyx": {"TELNYX_API_KEY": "KEY1", "TELNYX_PUBLIC_KEY": key},
        "plivo": {"PLIVO_AUTH_ID": "MA" + "A" * 18, "PLIVO_AUTH_TOKEN": "t0ken"},
    }
    found = settings(accounts[carrier])
    assert (found.twilio, found.carriers, found.demo) == (None, (carrier,), False)


def test_an_account_replaces_the_demo_one() -> None:
    account = settings({"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": "t0ken"}).twilio
    assert account is not None
    assert (account.account_sid, account.auth_token, account.demo) == (SID, "t0ken", False)
    assert account.api_url == "https://api.twilio.com"


def test_half_an_account_is_refused() -> None:
    assert problems({"TWILIO_ACCOUNT_SID": SID}) == [
        "TWILIO_AUTH_TOKEN: is missing; TWILIO_ACCOUNT_SID is set, and one is no use without the other"
    ]


def test_a_plivo_account() -> None:
    assert settings().plivo is None
    given = {"PLIVO_AUTH_ID": "MA" + "X" * 18, "PLIVO_AUTH_TOKEN": "planted"}
    found = settings(given)
    assert found.warnings == ()
    account = found.plivo
    assert account is not None
    assert (account.auth_id, account.api_url, account.codec) == (
        given["PLIVO_AUTH_ID"],
        "https://api.plivo.com",
        "mulaw",
    )
    assert not account.signature_v2
    assert "planted" not in repr(account)
    assert "planted" in found.secret_values()
    more = {"PLIVO_API_URL": "http://127.0.0.1:9/v1/", "PLIVO_CODEC": "l16", "PLIVO_SIGNATURE_V2": "true"}
    account = settings({**given, **more}).plivo
    assert account is not None
    assert (account.api_url, account.codec, account.signature_v2) == ("http://127.0.0.1:9", "l16", True)
    assert problems({"PLIVO_AUTH_ID": "MA"}) == [
        "PLIVO_AUTH_TOKEN: is missing; PLIVO_AUTH_ID is set, and one is no use without the other"
    ]
    assert "does not look like one" in settings({**given, "PLIVO_AUTH_ID": "12345"}).warnings[0]
    assert "PLIVO_CODEC" in problems({**given, "PLIVO_CODEC": "opus"})[0]


# .env


def test_the_file_is_read_and_the_real_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text('# ours\nPORT=9000\nGREETING="Good day, ${NAME}"\nMAX_CALLS=7\n', encoding="utf-8")
    found = settings({"PORT": "9001", "MAX_CALLS": ""}, file)
    assert (found.port, found.greeting, found.max_calls) == (9001, "Good day, ${NAME}", 150)
    file.write_text("TWILIO_TOKEN=x\n", encoding="utf-8")
    assert "TWILIO_TOKEN" in problems({}, file)[0]


# .env.example

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def test_the_example_names_every_variable_once_and_no_other() -> None:
    names = re.findall(r"^#([A-Z0-9_]+)=", EXAMPLE.read_text(), re.MULTILINE)
    options = [info for kind in KINDS.values() for info in option_infos(kind.options).values()]
    assert sorted(names) == sorted(
        {name.upper() for name in Settings.model_fields} | {info.env[0] for info in options if info.env}
    )


def shown() -> dict[str, str]:
    return dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def test_the_example_works_as_it_is_and_shows_the_servers_true_defaults() -> None:
    assert settings({}, EXAMPLE).warnings == ()
    default = settings()
    for name in Settings.model_fields:
        value = getattr(default, name)
        if str(value) in ("", "None") or name in ("secret_key", "api_token", "log_format"):
            continue  # what stands there is an example, or depends on where it runs
        assert shown()[name.upper()].lower() == str(value).removesuffix(".0").lower(), name


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_example_shows_the_true_defaults_of(kind: ProviderKind) -> None:
    for declared in fields(kind.options):
        info = option_infos(kind.options).get(declared.name)
        if info is None or not info.env or declared.default in (MISSING, "", None):
            continue  # not from the environment, or what stands there is an example
        assert shown()[info.env[0]].lower() == str(declared.default).lower(), info.env[0]
