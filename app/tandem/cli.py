"""The command `tandem`. Exit status: 0 good, 1 the thing tried failed, 2 bad usage or configuration."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tandem import __version__

if TYPE_CHECKING:
    from tandem.screen import Screen
    from tandem.settings import Settings

# What a command needs is imported by that command: `tandem check` must not wait for a web framework.

app = typer.Typer(
    name="tandem",
    help="A telephony bridge: phone calls in, realtime voice models out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BAD_USAGE = 2
SIMULATOR_PORT = 8100
CARRIER_REST = "carrier-rest"


def _version(wanted: bool) -> None:
    if wanted:
        _screen().say(f"tandem {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """The command itself."""


@app.command()
def serve() -> None:
    """Run the server. Everything is set in the environment, or in a file .env in the current folder."""
    from tandem import serve as server

    raise typer.Exit(server.main())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Recording to write: caller left, agent right.")] = Path("call.wav"),
    providers: Annotated[
        str, typer.Option(help="Simulated providers, primary first: openai,gemini. Default: the embedded one.")
    ] = "",
    kill: Annotated[
        float | None,
        typer.Option(min=0, help="Kill the first provider in a sentence after so many seconds.", show_default=False),
    ] = None,
) -> None:
    """Start a server with nothing configured, call it, and show what happens and how long it takes."""
    from tandem import demo, demo_failover
    from tandem.calling import can_record

    try:
        can_record(out)
        if kill is not None and not providers:
            raise ValueError("--kill needs --providers: openai,gemini")
        names = demo_failover.names_of(providers, kill) if providers else []
    except ValueError as error:
        _refuse(str(error))
    raise typer.Exit(demo_failover.run(_screen(), out, names, kill) if names else demo.run(_screen(), out))


@app.command()
def call(
    carrier: Annotated[str, typer.Option(help="Whose wire protocol to speak: twilio, telnyx or plivo.")] = "twilio",
    url: Annotated[str, typer.Option(help="The server. Default: the one on this machine.", show_default=False)] = "",
    wav: Annotated[
        Path | None, typer.Option(help="What the caller says. Default: a recorded conversation.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Recording to write: caller left, agent right.", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Hang up after so long at the latest.")] = 60.0,
) -> None:
    """Place a simulated call against a running server, signed with the configured secret."""
    settings = _settings()
    from tandem.place import Wish, place

    try:
        wish = Wish.of(settings, url, wav, out, seconds, carrier)
    except (ValueError, OSError) as error:
        _refuse(str(error))
    raise typer.Exit(asyncio.run(place(_screen(), settings, wish)))


@app.command()
def simulate(
    provider: Annotated[
        str, typer.Argument(help="Whose servers to simulate: openai, azure, xai, gemini ..., or carrier-rest.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = SIMULATOR_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    fault: Annotated[
        list[str] | None,
        typer.Option(help="What goes wrong: NAME, NAME=VALUE, or either with *N for the first N connections only."),
    ] = None,
    voice: Annotated[str, typer.Option(help="What it says: speech, tone:HZ, echo or silence.")] = "speech",
    pace: Annotated[
        str,
        typer.Option(help="How fast audio comes: burst, realtime or a factor. Default: as theirs.", show_default=False),
    ] = "",
    key: Annotated[str, typer.Option(help="The only API key that is good. Default: any.", show_default=False)] = "",
    faults: Annotated[bool, typer.Option("--faults", help="List the faults there are, and leave.")] = False,
) -> None:
    """Run a wire-true provider simulator, with faults, for tests, load and drills.

    `carrier-rest` is the REST APIs of all carriers instead: whoever is called by a server that uses it is simulated.
    """
    from tandem.simulators.faults import FAULTS
    from tandem.simulators.openai_script import pace as pace_of
    from tandem.simulators.table import SIMULATORS

    screen = _screen()
    if provider == CARRIER_REST:
        if fault or faults or key or pace or voice != "speech":
            _refuse(f"{CARRIER_REST} takes --host and --port only: what happens to a call its number decides")
        _simulate_carriers(screen, host, port)
        return
    kind = SIMULATORS.get(provider)
    if kind is None:
        _refuse(f"this version simulates no provider {provider!r}; it has: {', '.join((*SIMULATORS, CARRIER_REST))}")
    if faults:
        rows = [[name, each.value or "", each.default, each.help] for name, each in FAULTS.items()]
        screen.table("Faults", ["name", "value", "default", "what goes wrong"], rows)
        raise typer.Exit

    def listening(address: str) -> None:
        screen.say(f"{kind.title} simulator on {address}, until Ctrl-C. Point a server at it with:", "bold")
        screen.say(f"  {kind.variables.format(key=key or 'anything', url=address)} tandem serve")

    try:
        asyncio.run(
            kind.serve(
                host,
                port,
                fault or (),
                on_listening=listening,
                on_report=screen.say,
                voice=voice,
                key=key or None,
                **({"pace": pace_of(pace)} if pace else {}),
            )
        )
    except ValueError as error:
        _refuse(str(error))
    except OSError as error:
        screen.problem(f"can not listen on {host}:{port}: {error.strerror or error}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        pass


def _simulate_carriers(screen: Screen, host: str, port: int) -> None:
    settings = _settings()
    from tandem.simulators.carrier_rest import serve

    def listening(variables: str) -> None:
        screen.say("The carriers' REST APIs are simulated, until Ctrl-C. Point a server at them with:", "bold")
        screen.say(f"  {variables} tandem serve")
        screen.say("Numbers that end in 0001 are busy, 0002 do not answer, 0003 can't be reached, 0004 are machines.")

    try:
        asyncio.run(serve(settings, host, port, on_listening=listening, on_report=screen.say))
    except OSError as error:
        screen.problem(f"can not listen on {host}:{port}: {error.strerror or error}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        pass


@app.command()
def check(
    fix: Annotated[
        bool, typer.Option("--fix", help="Set the URLs of numbers at the carriers, where they are wrong.")
    ] = False,
    number: Annotated[
        list[str] | None, typer.Option(help="A number that shall lead here. Default: those of ROUTES_FILE.")
    ] = None,
    route: Annotated[
        str, typer.Option(help="Only say who would answer a call to this number, and why.", show_default=False)
    ] = "",
    caller: Annotated[str, typer.Option(help="With --route: who calls.", show_default=False)] = "",
) -> None:
    """Try the configuration: every provider, the public URL, the carriers; and say what to fix."""
    settings = _settings()
    from tandem import check as checks
    from tandem.routing import normal
    from tandem.tolls import is_number, is_sip

    for each in (*(number or ()), *([route] if route else ())):
        if not is_number(normal(each)) and not is_sip(each):
            _refuse(f"{each!r} is no number (+ and 7 to 15 digits) and no SIP URI")
    if route:
        raise typer.Exit(checks.route(_screen(), settings, route, caller))
    raise typer.Exit(asyncio.run(checks.run(_screen(), settings, number or (), fix=fix)))


def _settings() -> Settings:
    """The configuration, or its problems and exit status 2."""
    from tandem.settings import SettingsError, current

    try:
        return current()
    except SettingsError as error:
        _screen().misconfigured(error.problems)
        raise typer.Exit(BAD_USAGE) from None


def _screen() -> Screen:
    """Made by commands that show something: a server must not carry a terminal library."""
    from tandem.screen import Screen

    return Screen()


def _refuse(why: str) -> NoReturn:
    _screen().problem(why)
    raise typer.Exit(BAD_USAGE)
