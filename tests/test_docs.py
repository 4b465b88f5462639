"""The documents say what is: generated pages are fresh, links lead somewhere, commands and numbers exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from outdial.cli.commands import app
from outdial.core.errors import OutdialError
from outdial.telephony.loopback import RULES

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def generator():
    spec = importlib.util.spec_from_file_location("docs", ROOT / "scripts" / "docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "commands.md", "errors.md", "states.md"])
def test_generated_pages_are_fresh(name):
    assert (ROOT / "docs" / "reference" / name).read_text() == generator().pages()[name], "run `make docs`"


@pytest.mark.parametrize("name", ["rules_table", "presets_table"])
def test_the_page_of_dialing_rules_tells_those_there_are(name):
    page = (ROOT / "docs" / "explanation" / "dialing-rules.md").read_text()
    assert getattr(generator(), name)() in page, "the table has changed: paste what scripts/docs.py makes"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def commands() -> dict[str, object]:
    found = {}

    def walk(name: str, command) -> None:
        found[name] = command
        for word, inner in getattr(command, "commands", {}).items():
            walk(f"{name} {word}", inner)

    walk("outdial", typer.main.get_command(app))
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "commands.md"], ids=lambda page: page.name)
def test_commands_and_their_options_exist(page):
    known = commands()
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^    (?:[A-Z_]+=\S+ |TOKEN=\$\()*(outdial [^)#\n]*)", text, re.MULTILINE):
        words = shlex.split(line.replace("…", "x"))
        name = "outdial"
        while f"{name} {words[len(name.split())]}" in known if len(words) > len(name.split()) else False:
            name = f"{name} {words[len(name.split())]}"
        assert name != "outdial", line
        options = {option for parameter in known[name].params for option in parameter.opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in options | {"--help", "--json"}, line


def test_every_setting_named_in_a_page_exists():
    from outdial.config import Settings  # noqa: PLC0415 - only here

    known = {f"OUTDIAL_{name.upper()}" for name in Settings.model_fields} | {
        "OUTDIAL_TRUNK_PASSWORD",
        "OUTDIAL_IID",
        "OUTDIAL_CLIENT_ID",
        "OUTDIAL_CLIENT_SECRET",
        "OUTDIAL_TEST_SEED",
    }
    for page in PAGES:
        for name in re.findall(r"OUTDIAL_[A-Z_]+", page.read_text()):
            assert name in known, (page, name)


def test_every_error_is_listed_with_its_code():
    text = (ROOT / "docs" / "reference" / "errors.md").read_text()

    def all_of(kind: type[OutdialError]) -> set[str]:
        return {kind.code}.union(*(all_of(inner) for inner in kind.__subclasses__()))

    assert {code for code in all_of(OutdialError) if f"`{code}`" not in text} == set()


def test_the_loopback_carrier_does_what_its_page_says():
    text = (ROOT / "docs" / "reference" / "loopback-carrier.md").read_text()
    for rule in RULES:
        assert f"| {rule.first:02d}–{rule.last:02d} | {rule.sentence} |" in text


def test_no_file_is_longer_than_600_lines():
    long = [
        str(path.relative_to(ROOT))
        for folder in ("src", "bench", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        if len(path.read_text().splitlines()) > 600
    ]
    assert long == []
