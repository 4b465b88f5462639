"""House rules that no linter knows: who holds SQL, who originates, what lock files and sources may hold."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()

SQL = re.compile(r"^\s*(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|WITH \w+ AS)\b", re.MULTILINE)


def strings(path: Path) -> list[str]:
    """Every text in a module that is no docstring."""
    tree = ast.parse(path.read_text())
    documented = {
        node.value
        for parent in ast.walk(tree)
        if isinstance(parent, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        for node in parent.body[:1]
        if isinstance(node, ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documented
    ]


def floor(path: Path) -> str:
    return path.relative_to(ROOT / "src" / "outdial").parts[0].removesuffix(".py")


def test_only_the_store_and_the_database_server_hold_sql():
    holding = {floor(path) for path in SOURCES if any(SQL.search(text) for text in strings(path))}
    # the embedded server makes its role and database; contexts, doctor and its like ask through the store
    assert holding <= {"store", "embedded_postgres"}


def test_only_the_dialer_originates():
    calling = {
        floor(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "originate"
    }
    assert calling == {"dialer"}


def test_only_the_dialer_makes_permits():
    calling = {
        floor(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"put_permit", "renew_permit"}
    }
    assert calling == {"dialer"}


@pytest.mark.parametrize("name", ["asyncio", "time", "random", "secrets", "os", "socket", "datetime.now"])
def test_the_core_reads_no_clock_and_draws_no_luck(name):
    for path in (ROOT / "src" / "outdial" / "core").glob("*.py"):
        text = path.read_text()
        assert not re.search(rf"^(import|from) {re.escape(name)}\b", text, re.MULTILINE), path.name
        assert "datetime.now(" not in text, path.name


def test_the_vendors_name_lives_in_its_surface_only():
    for path in SOURCES:
        if "kore" not in str(path.relative_to(ROOT)) and re.search(r"\bKore\b", path.read_text()):
            pytest.fail(f"{path} names the vendor")


def test_every_public_module_class_and_function_says_what_it_does():
    silent = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        if path.read_text().strip() and not ast.get_docstring(tree):
            silent.append(str(path))
        silent += [
            f"{path}:{node.name}"
            for node in tree.body
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
            and "overload" not in {getattr(decorator, "id", "") for decorator in node.decorator_list}
        ]
    assert silent == []


@pytest.mark.parametrize("name", ["run.lock", "dev.lock"])
def test_lock_files_hold_names_versions_and_hashes_only(name):
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        assert re.fullmatch(
            r"(#.*|\s*|[A-Za-z0-9._-]+(\[[a-z,]+\])?==[A-Za-z0-9.+!-]+( ; .+)?( \\)?"
            r"|\s+--hash=sha256:[0-9a-f]{64}( \\)?|\s+#.*)",
            line,
        ), line


def test_no_address_of_a_package_registry_stands_anywhere():
    # written so that this line holds none itself
    registries = re.compile(r"pypi[.]org|files[.]pythonhosted|registry[.]npmjs|--(extra-)?index-url")
    for name in TRACKED:
        path = ROOT / name
        if path.suffix in {".py", ".toml", ".lock", ".cfg", ".txt", ".sh", ""} and path.is_file():
            assert not registries.search(path.read_text(errors="replace")), name


def test_nothing_is_left_for_later_in_the_sources():
    for path in SOURCES:
        assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", path.read_text()), path


def test_no_exception_is_swallowed_without_a_word():
    """What is expected is passed over by its own name, never everything."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}"
                broad = {getattr(one, "id", "") for one in ast.walk(node.type)} & {"Exception", "BaseException"}
                silent = all(isinstance(statement, (ast.Pass, ast.Continue)) for statement in node.body)
                assert not (broad and silent), f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "suppress":
                names = {getattr(argument, "id", getattr(argument, "attr", "")) for argument in node.args}
                assert not names & {"Exception", "BaseException"}, f"{path}:{node.lineno}"
