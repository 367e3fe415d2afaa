"""Static lines, dropped headers and headers that tell callers apart, as settings."""

import pytest

from openai_proxy.settings import SettingsError, describe, load_settings

SECRET = "s3cret-value-0123456789"


def load(directory, toml="", **environ):
    file = directory / "c.toml"
    file.write_text(toml)
    return load_settings({"config": str(file)}, environ, directory)


def clear(pairs):
    return {name: value.get_secret_value() for name, value in pairs}


def test_values_may_stand_in_files(tmp_path):
    """NAME_FILE names the file of a secret, relative to the working directory; nothing of it is shown."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    settings = load(
        tmp_path,
        "[upstream]\nheaders = {'OpenAI-Project' = 'p1', 'CF-Access-Client-Secret_FILE' = 'secret'}\n"
        "query = {api-version = '2024-10-21', 'code_FILE' = 'secret'}\n"
        "[[upstreams]]\nname = 'a'\nbase_url = 'http://a'\nheaders = {X-Token_FILE = 'secret'}\nvia = ''\n",
    )
    assert clear(settings.upstream.headers) == {"OpenAI-Project": "p1", "CF-Access-Client-Secret": SECRET}
    assert clear(settings.upstream.query) == {"api-version": "2024-10-21", "code": SECRET}
    assert clear(settings.upstreams[0].headers) == {"X-Token": SECRET}
    assert (settings.upstream.via, settings.upstreams[0].via) == ("openai-proxy", "")
    assert SECRET not in describe(settings)
    assert SECRET not in repr(settings)
    assert "OpenAI-Project" in describe(settings)


@pytest.mark.parametrize(
    ("member", "named"),
    [
        ("headers = {Authorization = 'x'}", "Authorization"),
        ("headers = {'api-key' = 'x'}", "api-key"),
        ("headers = {'Content-Length' = '1'}", "Content-Length"),
        ("headers = {'Transfer-Encoding_FILE' = 'x'}", "Transfer-Encoding"),
        ("headers = {Connection = 'close'}", "Connection"),
        ("headers = {Host = 'x'}", "Host"),
        ("headers = {Via = 'x'}", "Via"),
        ("headers = {'Sec-WebSocket-Key' = 'x'}", "Sec-WebSocket-Key"),
        ("headers = {'X-Own' = 'x'}\nauth_header = 'x-own'", "x-own"),
        ("headers = {'a b' = 'x'}", "a b"),
        ("headers = {A = 'x', a = 'y'}", "twice"),
        ('headers = {A = "x\\ny"}', "'A'"),
        ("headers = {A = ''}", "'A'"),
        ("headers = {A_FILE = 'nowhere'}", "nowhere"),
        ("headers = ['A']", "table"),
        ("query = {a = true}", "'a'"),
        ("drop_headers = ['authorization']", "authorization"),
        ("drop_headers = ['X-Own']\nauth_header = 'x-own'", "x-own"),
        ("drop_headers = ['content-length']", "content-length"),
        ("drop_headers = ['a b']", "a b"),
    ],
)
@pytest.mark.parametrize("entry", [False, True])
def test_what_is_refused(tmp_path, member, named, entry):
    """One line that names the setting and the member at fault, without its value."""
    lines = member.split("\n")
    own, general = lines[0], "\n".join(lines[1:])
    toml = f"[upstream]\n{general}\n"
    toml += f"[[upstreams]]\nname = 'a'\nbase_url = 'http://a'\n{own}\n" if entry else f"{own}\n"
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, toml)
    assert named in str(caught.value)
    assert ("upstreams[0]" if entry else "upstream") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_secret_in_a_refusal(tmp_path):
    """A wrong name beside a secret does not show it."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, f"[upstream]\nheaders = {{Authorization = '{SECRET}'}}\n")
    assert SECRET not in str(caught.value)


def test_lists_of_the_environment(tmp_path):
    """Commas or spaces separate, case does not count."""
    settings = load(
        tmp_path, UPSTREAM__DROP_HEADERS="CF-*, cookie,", AUTH__CALLER_HEADERS="X-Goog-Api-Key x-user"
    )
    assert settings.upstream.drop_headers == ("cf-*", "cookie")
    assert settings.auth.caller_headers == ("x-goog-api-key", "x-user")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", "true"), ("No", "false"), ("0", "false"), ("AUTO", "auto"), (" on ", "true")],
)
def test_required(tmp_path, text, expected):
    """The words for truth values, and one more."""
    assert load(tmp_path, AUTH__REQUIRED=text).auth.required == expected


def test_required_in_toml(tmp_path):
    """A truth value of TOML; anything else is refused."""
    assert load(tmp_path, "[auth]\nrequired = false\n").auth.required == "false"
    with pytest.raises(SettingsError, match=r"auth\.required"):
        load(tmp_path, "[auth]\nrequired = 'maybe'\n")


def test_organization_of_a_key(tmp_path):
    """One header value; what is none is refused."""
    key = "[[keys]]\nname = 'a'\nkey = 'sk-a'\nupstream_key = 'sk-u'\n"
    assert load(tmp_path, key + "organization = 'org-1'\n").keys[0].organization == "org-1"
    with pytest.raises(SettingsError, match="project"):
        load(tmp_path, key + 'project = "a\\nb"\n')
