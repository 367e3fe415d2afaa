"""A key goes to the origin it was made for, and to no other."""

import pytest

from openai_proxy.policies.authenticate.upstream_keys import kept_keys, key_of, keyless_upstreams
from openai_proxy.settings import SettingsError, load_settings, mode

TENANT = "[[keys]]\nname = 'alice'\nkey = 'sk-alice'\n"
OWN = TENANT + "upstream_key = 'sk-own'\n"
DEFAULT = {"OPENAI_API_KEY": "sk-default"}


def load(directory, toml, base="https://first/v1", **environ):
    file = directory / "c.toml"
    file.write_text(toml)
    if base is not None:
        environ["OPENAI_API_BASE"] = base
    return load_settings({"config": str(file)}, environ, directory)


def upstream(url, **members):
    members.setdefault("name", url)
    lines = "".join(f"{name} = '{value}'\n" for name, value in members.items())
    return f"[[upstreams]]\nbase_url = '{url}'\n{lines}"


def keys(settings):
    return [key_of(settings, entry) for entry in settings.upstreams]


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ("", {}, ("pass-through", None, b"", None)),
        ("", DEFAULT, ("inject", b"sk-default", b"", b"sk-default")),
        (TENANT, DEFAULT, ("tenants", None, b"", b"sk-default")),
        (OWN, DEFAULT, ("tenants", None, b"", b"sk-default")),
    ],
)
def test_only_the_origin_of_the_base_url_gets_a_key(tmp_path, toml, environ, expected):
    """The default key, a tenant's own and a client's credentials stay there; `inherit` written out sends the default."""
    tables = (
        upstream("https://FIRST:443/other"),
        upstream("https://second/v1"),
        upstream("https://third/v1", api_key="inherit"),
    )
    settings = load(tmp_path, "".join(tables) + toml, **environ)
    assert (mode(settings), *keys(settings)) == expected


@pytest.mark.parametrize("url", ["http://first/v1", "https://first:8443/v1", "https://first.example/v1"])
def test_another_scheme_port_or_host_is_another_origin(tmp_path, url):
    """Only the path may differ."""
    assert keys(load(tmp_path, upstream(url), **DEFAULT)) == [b""]


def test_an_upstreams_own_key_is_only_for_it(tmp_path):
    """One with a key of its own keeps it; a tenant's own goes only to the origin it was made for."""
    tables = upstream("https://first/x", api_key="sk-1") + upstream("https://second/v1", api_key="sk-2")
    settings = load(tmp_path, tables + OWN, **DEFAULT)
    assert keys(settings) == [b"sk-1", b"sk-2"]
    assert [kept_keys(settings, entry) for entry in settings.upstreams] == [{b"sk-own"}, frozenset()]


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        (("http://a/v1", "http://b/v1"), [b"sk-default", b""]),
        (("http://a/v1", "https://api.openai.com/v1"), [b"", b"sk-default"]),
    ],
)
def test_without_a_base_url_the_first_upstream_takes_its_place(tmp_path, urls, expected):
    """Unless the default of the base URL is among them: a key of OpenAI's goes nowhere else then."""
    settings = load(tmp_path, "".join(map(upstream, urls)), base=None, **DEFAULT)
    assert keys(settings) == expected


def test_nothing_to_inherit_is_an_error(tmp_path):
    """A key that is not there cannot be sent; in pass-through mode the client's credentials are inherited."""
    toml = upstream("https://second/v1", api_key="inherit")
    assert keys(load(tmp_path, toml)) == [None]
    with pytest.raises(SettingsError, match="inherits"):
        load(tmp_path, toml + OWN)


def test_the_start_says_which_requests_go_without_a_key(tmp_path):
    """By name, by model or fail-over; nothing is said where a key goes."""
    toml = (
        upstream("https://first/v1", name="main")
        + upstream("https://second/v1", name="spare", priority="1").replace("'1'", "1")
        + upstream("https://third/v1", name="own", api_key="sk-3")
        + "[[models]]\nmatch = 'fast'\nupstream = 'spare'\n"
    )
    (line,) = keyless_upstreams(load(tmp_path, toml, **DEFAULT))
    assert "upstream spare" in line
    assert "without an API key" in line
    assert "'fast'" in line
    assert "fail over" in line
    assert "sk-" not in line
    assert list(keyless_upstreams(load(tmp_path, upstream("https://first/v1"), **DEFAULT))) == []
