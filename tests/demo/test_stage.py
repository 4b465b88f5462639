"""The demo's own settings: away from production, in a folder that goes away."""

from __future__ import annotations

import os
from contextlib import closing

import pytest
from pydantic import SecretStr

from outdial.config import Settings
from outdial.demo import stage
from outdial.listening import listen


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.upper().startswith("OUTDIAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_a_folder_is_made_and_removed_also_after_a_failure():
    with pytest.raises(ZeroDivisionError), stage.own_settings(Settings()) as own:
        assert own.data_dir.is_dir()
        assert own.data_dir.stat().st_mode & 0o777 == 0o711, "the database's own account gets through"
        (own.data_dir / "deep").mkdir()
        (own.data_dir / "deep" / "file").write_text("x")
        raise ZeroDivisionError
    assert not own.data_dir.exists()


def test_a_folder_that_was_named_is_kept(tmp_path):
    with stage.own_settings(Settings(data_dir=tmp_path / "mine")) as own:
        assert own.data_dir == tmp_path / "mine"
        own.data_dir.mkdir()
    assert own.data_dir.is_dir()


def test_no_production_database_or_engine_is_touched():
    production = Settings(database_url=SecretStr("postgresql://db/prod"), asterisk_url="http://pbx:8088")
    with stage.own_settings(production) as own:
        assert (own.database_url, own.asterisk_url) == (None, None)


def test_where_the_usual_port_is_taken_another_one_is_used():
    with closing(listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        usual = Settings(http_port=port)
        usual.model_fields_set.discard("http_port")
        with stage.own_settings(usual) as own:
            assert own.http_port == 0
        with stage.own_settings(Settings(http_port=port)) as own:
            assert own.http_port == port, "one that was asked for is not changed behind one's back"


class TestEngine:
    async def test_where_there_is_no_asterisk_calls_are_simulated_and_it_is_said_why(self, tmp_path):
        chosen, missing = await stage._choose_engine(Settings(asterisk_command=tmp_path / "none"))
        assert chosen.engine == "simulated"
        assert "make install" in missing

    @pytest.mark.parametrize("engine", ["asterisk", "simulated"])
    async def test_what_was_asked_for_stays(self, engine, tmp_path):
        settings = Settings(engine=engine, asterisk_command=tmp_path / "none")
        assert await stage._choose_engine(settings) == (settings, None)


def test_a_folder_that_is_gone_already_is_no_failure():
    with stage.own_settings(Settings()) as own:
        own.data_dir.rmdir()
    assert not own.data_dir.exists()
