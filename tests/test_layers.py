"""The house, held to its rules by reading it: layers, purity, owners of tasks, and a test beside each file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "tandem": ROOT / "app" / "tandem",
    "tandem_providers": ROOT / "providers" / "tandem_providers",
    "tandem_codecs": ROOT / "codecs" / "tandem_codecs",
}
# What each layer may import of the others.
BELOW = {
    "tandem": {"tandem_providers", "tandem_codecs"},
    "tandem_providers": {"tandem_codecs"},
    "tandem_codecs": set[str](),
}
# Told things, answers things: no I/O, no clock, no environment, no log, no chance.
PURE = [
    "tandem_codecs/*.py",
    "tandem/carriers/*.py",
    "tandem/agents.py",
    "tandem/call.py",
    "tandem/call_state.py",
    "tandem/call_types.py",
    "tandem/caller_audio.py",
    "tandem/carrier_watch.py",
    "tandem/duplex.py",
    "tandem/ears.py",
    "tandem/idempotency.py",
    "tandem/identity.py",
    "tandem/leaving.py",
    "tandem/ledger.py",
    "tandem/length.py",
    "tandem/machine.py",
    "tandem/operator_models.py",
    "tandem/outset.py",
    "tandem/parking.py",
    "tandem/signed.py",
    "tandem/silence.py",
    "tandem/simulators/*_line.py",
    "tandem/simulators/*_schema.py",
    "tandem/simulators/*_script.py",
    "tandem/simulators/line.py",
    "tandem/simulators/phone.py",
    "tandem/stream_watch.py",
    "tandem/tokens.py",
    "tandem/tolls.py",
    "tandem/tools/addresses.py",
    "tandem/tools/fillers.py",
    "tandem/tools/schema.py",
    "tandem/tools/tool.py",
    "tandem/transcript.py",
    "tandem_providers/asides.py",
    "tandem_providers/azure.py",
    "tandem_providers/commands.py",
    "tandem_providers/config.py",
    "tandem_providers/deepgram*.py",
    "tandem_providers/detector.py",
    "tandem_providers/elevenlabs.py",
    "tandem_providers/elevenlabs_[!a]*.py",
    "tandem_providers/errors.py",
    "tandem_providers/events.py",
    "tandem_providers/fallback.py",
    "tandem_providers/frames.py",
    "tandem_providers/gemini*.py",
    "tandem_providers/kept.py",
    "tandem_providers/line.py",
    "tandem_providers/openai*.py",
    "tandem_providers/options.py",
    "tandem_providers/responses.py",
    "tandem_providers/spoken.py",
    "tandem_providers/tones.py",
    "tandem_providers/xai.py",
]
IMPURE_MODULES = {
    "asyncio", "concurrent", "fastapi", "httpx", "logging", "os", "picows", "random", "secrets", "socket", "ssl",
    "starlette", "subprocess", "tandem.logs", "tandem.metrics", "tandem.settings", "threading", "time", "uuid",
    "uvicorn", "websockets",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input"}
# Pure but for one thing, and why that is no harm.
ALLOWED = {
    "tandem_codecs/wav.py": {
        "open",
        "uuid",
    },  # writes the files that it is named after, under a name of its own at first
    "tandem_providers/frames.py": {"websockets"},  # borrows its function that masks bytes, which does nothing else
}
# Who may make a task without a group, and who ends it.
OWNERS = {
    "tandem/media_socket.py": {"self._loop"},  # the application's task of a connection, which uvicorn owns as its own
}


def sources() -> list[tuple[str, Path]]:
    """(`tandem/call.py`, its path) of every source file."""
    return sorted(
        (f"{package}/{path.relative_to(root)}", path)
        for package, root in PACKAGES.items()
        for path in root.rglob("*.py")
    )


def imports(tree: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Absolute names of imported modules, with the line; those for types only included, for a layer is a layer."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{package}, line {node.lineno}: import by full name"
            assert node.module is not None
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def is_pure(name: str) -> bool:
    return any(Path(name).match(pattern) for pattern in PURE)


@pytest.mark.parametrize(("name", "path"), sources(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_run_down_only(name: str, path: Path) -> None:
    package = name.split("/")[0]
    for module, line in imports(ast.parse(path.read_bytes()), name):
        top = module.split(".")[0]
        if top in PACKAGES and top != package:
            assert top in BELOW[package], f"{name}, line {line}: {package} must not know {top}"
        assert top not in ("app", "providers", "codecs"), f"{name}, line {line}: {top} is a folder, not a package"


def test_a_carrier_knows_no_provider_and_the_bridge_alone_knows_both() -> None:
    for name, path in sources():
        modules = {module for module, _ in imports(ast.parse(path.read_bytes()), name)}
        if name.startswith("tandem/carriers/"):
            assert not [m for m in modules if m.startswith("tandem_providers")], name


@pytest.mark.parametrize(
    ("name", "path"), [s for s in sources() if is_pure(s[0])], ids=lambda v: v if isinstance(v, str) else ""
)
def test_pure_files_are_pure(name: str, path: Path) -> None:
    tree = ast.parse(path.read_bytes())
    allowed = ALLOWED.get(name, set())
    for module, line in imports(tree, name):
        bad = [m for m in IMPURE_MODULES - allowed if module == m or module.startswith(f"{m}.")]
        assert not bad, f"{name}, line {line}: a pure file imports {module}"
    for node in ast.walk(tree):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), (
            f"{name}, line {getattr(node, 'lineno', 0)}: async"
        )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS - allowed, f"{name}, line {node.lineno}: {node.func.id}()"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in ("now", "today", "utcnow"), f"{name}, line {node.lineno}: reads the clock"


def test_the_list_of_pure_files_names_only_what_is_there() -> None:
    names = [name for name, _ in sources()]
    for pattern in PURE:
        assert any(Path(name).match(pattern) for name in names), pattern


@pytest.mark.parametrize(("name", "path"), sources(), ids=lambda value: value if isinstance(value, str) else "")
def test_no_task_without_an_owner(name: str, path: Path) -> None:
    """`create_task` only of a task group: one opened in the same file, or handed in under the name of one."""
    tree = ast.parse(path.read_bytes())
    groups = set(OWNERS.get(name, ()))
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and "TaskGroup(" in ast.unparse(node.context_expr) and node.optional_vars:
            groups.add(ast.unparse(node.optional_vars))
        if (
            isinstance(node, ast.arg | ast.AnnAssign)
            and node.annotation
            and "TaskGroup" in ast.unparse(node.annotation)
        ):
            groups.add(node.arg if isinstance(node, ast.arg) else ast.unparse(node.target))
        if isinstance(node, ast.Assign) and ("TaskGroup(" in (given := ast.unparse(node.value)) or given in groups):
            groups |= {ast.unparse(target) for target in node.targets}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if node.func.attr == "create_task":
                assert owner in groups, f"{name}, line {node.lineno}: {owner}.create_task"
            assert node.func.attr != "ensure_future", f"{name}, line {node.lineno}: a task without an owner"


@pytest.mark.parametrize(("name", "path"), sources(), ids=lambda value: value if isinstance(value, str) else "")
def test_each_file_has_its_own_test(name: str, path: Path) -> None:
    """`test_openai_events.py` or, where one wire protocol fills several files, `test_openai.py`."""
    if not any(has_logic(node) for node in ast.walk(ast.parse(path.read_bytes()))):
        return  # names, data and ports only
    folder = {"tandem": "app", "tandem_providers": "providers", "tandem_codecs": "codecs"}[name.split("/")[0]]
    inside = Path(name).parts[1:-1]
    words = path.stem.split("_")
    stems = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
    mirror = ROOT / "tests" / folder
    # In the mirrored folder; or in the package's, with or without the inner folder in its name.
    places = [mirror.joinpath(*inside, f"test_{stem}.py") for stem in stems]
    places += [mirror / f"test_{stem}.py" for stem in stems]
    places += [mirror / f"test_{'_'.join([part.removesuffix('s'), stem])}.py" for part in inside for stem in stems]
    places += [mirror / f"test_{'_'.join([stem, part.removesuffix('s')])}.py" for part in inside for stem in stems]
    assert any(place.is_file() for place in places), f"{name} has no test file, such as {places[len(stems) - 1]}"


def has_logic(node: ast.AST) -> bool:
    """A function with more to it than one returned expression, or than the dots of a port."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return any(not isinstance(each, ast.Return | ast.Pass | ast.Expr) for each in body) or len(body) > 1


def test_the_source_roots_are_no_packages() -> None:
    for root in PACKAGES.values():
        assert not (root.parent / "__init__.py").exists(), "would hide a module of Python's own"
        assert (root / "py.typed").is_file()


def test_files_stay_small() -> None:
    for name, path in sources():
        assert len(path.read_text().splitlines()) <= 600, f"{name}: which two things is it?"
