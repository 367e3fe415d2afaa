"""Groups of client keys, as a configuration has them."""

import pytest

from openai_proxy.settings import SettingsError, client_keys, load_settings

KEY = '[[keys]]\nname = "alice"\nkey = "sk-alice-1234"\n'


def load(directory, text):
    (directory / "c.toml").write_text(text)
    return load_settings({}, {"OPENAI_API_KEY": "sk-up", "OPENAI_PROXY_CONFIG": "c.toml"}, directory)


def group(name, **members):
    return f'[[groups]]\nname = "{name}"\n' + "".join(f"{key} = {value}\n" for key, value in members.items())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (group("a") + group("a"), r"groups\[1\].name: 'a' is taken"),
        (
            group("team", parent='"tem"'),
            r"groups\[0\].parent: 'tem' is no name of \[\[groups\]\]; the nearest is 'team'",
        ),
        (group("a", parent='"a"'), r"groups\[0\].parent: 'a' is a part of itself"),
        (group("a", parent='"b"') + group("b", parent='"a"'), "is a part of itself"),
        (
            group("a", parent='"b"') + group("b", parent='"c"') + group("c", parent='"b"'),
            "is a part of itself",
        ),
        (
            group("g0") + "".join(group(f"g{n}", parent=f'"g{n - 1}"') for n in range(1, 9)),
            r"groups\[8\].parent: groups may be 8 deep, not 9",
        ),
        (group("team") + KEY + 'group = "teem"\n', r"keys\[0\].group: 'teem' is no name.*nearest is 'team'"),
        (group("a", budget_usd="0"), r"groups\[0\].budget_usd"),
        (group("a", limits="{ requests = 1 }"), r"groups\[0\].limits.requests"),
        (group("a", models='["x"]'), r"groups\[0\].models.*: unknown setting"),
    ],
)
def test_groups_that_cannot_be_are_refused(tmp_path, text, words):
    """In one line."""
    with pytest.raises(SettingsError, match=words):
        load(tmp_path, text)


def test_a_key_belongs_to_its_group_and_to_all_above(tmp_path):
    """It has a budget if one of them has."""
    text = group("all", budget_usd="5") + group("team", parent='"all"') + group("other")
    settings = load(
        tmp_path,
        text + KEY + 'group = "team"\n[[keys]]\nname = "bob"\nkey = "sk-bob-12345"\ngroup = "other"\n',
    )
    alice, bob = client_keys(settings)
    assert [each.name for each in alice.groups] == ["team", "all"]
    assert (alice.has_budget, bob.has_budget) == (True, False)


def test_a_group_may_be_only_a_name(tmp_path):
    """As keys that share their stored objects have it."""
    (alice,) = client_keys(load(tmp_path, KEY + 'group = "anything"\n'))
    assert (alice.group, alice.groups, alice.has_budget) == ("anything", (), False)
