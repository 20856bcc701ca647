"""From `PROVIDERS` and the providers' own variables to providers, in order.

Nothing here knows a vendor: the provider table says which kinds there are and what each can be told.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Protocol, get_origin, get_type_hints, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from tandem_codecs.format import MULAW_8K, PCM16_24K, AudioFormat
from tandem_providers.config import ProcessConfig
from tandem_providers.errors import InvalidConfigError, ProviderError
from tandem_providers.options import OptionInfo, option_infos
from tandem_providers.provider import Provider
from tandem_providers.table import ProviderKind

_NAME = re.compile(r"(?P<kind>[a-z0-9-]+)(?:@(?P<instance>[a-z0-9-]+))?")


@dataclass(frozen=True, slots=True)
class Choice:
    """One provider to use, with its options as the environment has them."""

    kind: ProviderKind
    name: str
    """As configured: `openai` or `openai@backup`."""
    options: Any
    left_out: frozenset[str] = frozenset()
    """Fields of `ProcessConfig` that this one is not told, because it comes with the house and can't honour them."""


def choose(
    given: Mapping[str, str],
    kinds: Mapping[str, ProviderKind],
    problems: list[str],
    warnings: list[str],
    more: Sequence[str] = (),
) -> list[Choice]:
    """The providers of `PROVIDERS`, or every one with a key, or the embedded one; then those of the names in `more`.

    What is wrong goes to `problems`.
    """
    names = _named(given, kinds, problems) if "PROVIDERS" in given else _by_key(given, kinds)
    names += [name for name in more if name not in names]
    choices = [_choice(name, given, kinds, problems) for name in names]
    used = {name.partition("@")[0] for name in names}
    read = variables_of({name: kinds[name] for name in used}, {})
    for kind in kinds.values():
        unread = sorted(variables_of({kind.name: kind}, {}) & given.keys() - read)
        read.update(unread)  # what two kinds share is told once
        if unread:
            warnings.append(f"{', '.join(unread)}: not read, for provider {kind.name} is not in use")
    return [choice for choice in choices if choice is not None]


def variables_of(kinds: Mapping[str, ProviderKind], given: Mapping[str, str]) -> set[str]:
    """Every name that an option may come from, those of further instances included."""
    prefixes = ["", *instance_prefixes(given)]
    return {
        prefix + name
        for kind in kinds.values()
        for info in option_infos(kind.options).values()
        for name in info.env
        for prefix in prefixes
    }


def secret_variables(kinds: Mapping[str, ProviderKind], given: Mapping[str, str]) -> set[str]:
    """Of those, the ones that hold a secret, whether their provider is in use or not."""
    prefixes = ["", *instance_prefixes(given)]
    infos = [info for kind in kinds.values() for info in option_infos(kind.options).values() if info.secret]
    return {prefix + name for info in infos for name in info.env for prefix in prefixes}


def instance_prefixes(given: Mapping[str, str]) -> list[str]:
    """What the variables of further instances begin with: `BACKUP_` for `openai@backup`."""
    return [_prefix(name.partition("@")[2]) for name in _listed(given) if "@" in name]


@runtime_checkable
class Checked(Protocol):
    """A provider that can say beforehand what it would refuse."""

    def check(self, config: ProcessConfig, *, leg: AudioFormat = PCM16_24K) -> None:
        """Raise `InvalidConfigError` if it would."""
        ...


def fit(
    choices: list[Choice], config: ProcessConfig, greeting: str, problems: list[str], warnings: list[str]
) -> list[Choice]:
    """Hold each provider against what it will be asked for.

    A paid one that can't honour something is a problem: it would refuse every call. One that comes with the house
    stands in for a model and is not told what only a model can do; that is said once, loudly.
    """
    fitted = []
    for choice in choices:
        try:
            provider = choice.kind.build(choice.options, choice.name)
        except (ValueError, ProviderError) as error:
            problems.append(_told(choice, error))
            continue
        left_out: list[str] = []
        for wish, value in wishes(config):
            try:
                check(provider, replace(ProcessConfig(), **{wish: value}))
            except InvalidConfigError as error:
                if needs_key(choice.kind):
                    problems.append(f"{_name_of(wish)}: {_told(choice, error)}")
                else:
                    left_out.append(wish)
        unsaid = [*left_out, *(["greeting"] if greeting and not provider.capabilities.text_in else [])]
        if unsaid:
            names = dict.fromkeys(_name_of(wish) for wish in unsaid)
            mean = "means" if len(names) == 1 and "," not in "".join(names) else "mean"
            warnings.append(
                f"{' and '.join(names)} {mean} nothing to provider {choice.name}, which answers without them"
            )
        fitted.append(replace(choice, left_out=frozenset(left_out)))
        try:
            check(provider, ProcessConfig())
        except InvalidConfigError as error:
            problems.append(_told(choice, error))
    return fitted


def _name_of(wish: str) -> str:
    """What asks for it."""
    return "TOOLS_FILE, MCP_SERVERS, BUILTIN_TOOLS" if wish in ("functions", "on_function_call") else wish.upper()


def wishes(config: ProcessConfig) -> list[tuple[str, Any]]:
    """The fields that are set."""
    nothing = ProcessConfig()
    values = [(wish.name, getattr(config, wish.name)) for wish in fields(config)]
    return [(name, value) for name, value in values if value != getattr(nothing, name)]


def check(provider: Provider, config: ProcessConfig) -> None:
    """Raise `InvalidConfigError` if the provider says beforehand that it would."""
    if isinstance(provider, Checked):
        provider.check(config, leg=MULAW_8K)


def _told(choice: Choice, error: Exception) -> str:
    said = error.message if isinstance(error, ProviderError) else str(error)
    return f"provider {choice.name}: {said}"


def needs_key(kind: ProviderKind) -> bool:
    """It is a service with an account, not one that comes with the house."""
    return any(info.secret for info in option_infos(kind.options).values())


def embedded_only(choices: tuple[Choice, ...]) -> bool:
    """No provider here costs anybody anything."""
    return bool(choices) and not any(needs_key(choice.kind) for choice in choices)


def unknown_provider(name: str, kinds: Mapping[str, ProviderKind]) -> str:
    """Why there is no provider of this name; empty when there is one."""
    match = _NAME.fullmatch(name)
    kind = match["kind"] if match else name
    if match is not None and kind in kinds:
        return ""
    near = difflib.get_close_matches(kind, kinds, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"this version has no provider {name!r}; it has {', '.join(kinds)}{hint}"


def default_names(given: Mapping[str, str], kinds: Mapping[str, ProviderKind]) -> list[str]:
    """What `choose` chooses without being asked for more."""
    return _named(given, kinds, []) if "PROVIDERS" in given else _by_key(given, kinds)


def _listed(given: Mapping[str, str]) -> list[str]:
    return [name.strip().lower() for name in given.get("PROVIDERS", "").split(",") if name.strip()]


def _named(given: Mapping[str, str], kinds: Mapping[str, ProviderKind], problems: list[str]) -> list[str]:
    names: list[str] = []
    for name in _listed(given):
        match = _NAME.fullmatch(name)
        kind = match["kind"] if match else name
        if name in names:
            problems.append(f"PROVIDERS: {name} is there twice; write {kind}@another for a second instance")
        elif problem := unknown_provider(name, kinds):
            problems.append(f"PROVIDERS: {problem}")
        else:
            names.append(name)
    if not _listed(given):
        problems.append("PROVIDERS: names no provider")
    return names


def _by_key(given: Mapping[str, str], kinds: Mapping[str, ProviderKind]) -> list[str]:
    """Every kind with a key; of those that share one only the first. None: the one that needs no key."""
    names: list[str] = []
    taken: set[str] = set()
    for kind in kinds.values():
        keys = {
            name for info in option_infos(kind.options).values() if info.secret for name in info.env if name in given
        }
        if keys - taken:
            names.append(kind.name)
        taken |= keys
    return names or [kind.name for kind in kinds.values() if not needs_key(kind)][:1]


def _choice(
    name: str, given: Mapping[str, str], kinds: Mapping[str, ProviderKind], problems: list[str]
) -> Choice | None:
    kind = kinds[name.partition("@")[0]]
    instance = name.partition("@")[2]
    infos = option_infos(kind.options)
    hints = get_type_hints(kind.options)
    values: dict[str, Any] = {}
    before = len(problems)
    for option, info in infos.items():
        variable = next((v for v in _variables(info, instance) if v in given), None)
        if variable is None:
            continue
        try:
            values[option] = _parse(given[variable], hints[option])
        except ValueError as error:
            shown = "" if info.secret else f" {given[variable]!r}:"
            problems.append(f"{variable}:{shown} {_reason(error)}")
    for declared in fields(kind.options):
        required = declared.default is MISSING and declared.default_factory is MISSING and declared.name in infos
        if required and declared.name not in values and len(problems) == before:
            variable = next(_variables(infos[declared.name], instance), declared.name)
            problems.append(f"{variable}: is missing, and provider {name} needs it")
    if len(problems) > before:
        return None
    try:
        return Choice(kind, name, kind.options(**values))
    except (ValueError, ProviderError) as error:
        problems.append(f"provider {name}: {error}")
        return None


def _variables(info: OptionInfo, instance: str) -> Iterator[str]:
    """Where an option comes from, the first one set wins."""
    if instance:
        yield from (_prefix(instance) + name for name in info.env)
    yield from info.env


def _prefix(instance: str) -> str:
    return instance.upper().replace("-", "_") + "_"


def _parse(text: str, hint: Any) -> Any:
    adapter = TypeAdapter(hint)
    if get_origin(hint) in (dict, list, tuple, Mapping) and text[:1] in "[{":
        return adapter.validate_python(json.loads(text))
    if get_origin(hint) in (list, tuple):
        return adapter.validate_python([part.strip() for part in text.split(",")])
    return adapter.validate_python(text)


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(str(e["msg"])[:1].lower() + str(e["msg"])[1:] for e in error.errors(include_url=False)[:1])
    return "is not valid JSON" if isinstance(error, json.JSONDecodeError) else str(error)
