"""Tags, as a configuration has them."""

import pytest

from openai_proxy.settings import SettingsError, client_keys, load_settings


def load(directory, text="", **environ):
    (directory / "c.toml").write_text(text)
    return load_settings(
        {}, {"OPENAI_PROXY_CONFIG": "c.toml", "OPENAI_API_KEY": "sk-up", **environ}, directory
    )


def test_tags_of_a_table_and_of_a_variable(tmp_path):
    """The same; header names in any case."""
    wanted = (("team", "x-team"), ("project", "x-project"))
    assert load(tmp_path, '[tags]\nteam = "X-Team"\nproject = "x-project"\n').tags == wanted
    assert load(tmp_path, TAGS="team=X-Team, project=x-project").tags == wanted
    assert load(tmp_path).tags == ()
    key = '[[keys]]\nname = "a"\nkey = "sk-aaaaaaaa"\ntags = { team = "red" }\n'
    assert client_keys(load(tmp_path, key))[0].tags == (("team", "red"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[tags]\nTeam = "x-team"\n', "'Team' is no name of a tag"),
        ('[tags]\nend_user = "x-team"\n', "'end_user' is no name of a tag"),
        ('[tags]\nteam = "x team"\n', "the tag team names no header"),
        ('[tags]\nteam = "authorization"\n', "is a credential or frames the message"),
        ('[tags]\na = "x-team"\nb = "X-Team"\n', "two tags have the same header"),
        ("[tags]\nteam = 3\n", "a table of texts is expected"),
        ("[tags]\n" + "".join(f'a{n} = "x-{n}"\n' for n in range(11)), "there may be 10 tags, not 11"),
        ('tag_headers = "keep"\n', "tag_headers"),
        ('end_user = "sha"\n', "end_user"),
        ('[[keys]]\nname = "a"\nkey = "sk-aaaaaaaa"\ntags = { team = "" }\n', r"keys\[0\].tags"),
    ],
)
def test_tags_that_cannot_be_are_refused(tmp_path, text, words):
    """In one line."""
    with pytest.raises(SettingsError, match=words):
        load(tmp_path, text)
