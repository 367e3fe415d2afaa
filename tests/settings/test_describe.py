"""What --check-config and repr show."""

from openai_proxy.settings import describe, load_settings, settings_reference

ENVIRON = {
    "OPENAI_API_KEY": "CANARY-1",
    "CLIENT_API_KEYS": "CANARY-2",
    "API_KEY_MAPPING": '{"CANARY-3": "CANARY-4"}',
    "CACHE__URL": "redis://u:CANARY-5@cache.example:6379/1",
    "ADMIN__TOKEN": "CANARY-6",
    "STORAGE_TYPE": "azure",
    "AZURE_STORAGE_ACCOUNT_NAME": "account",
    "AZURE_STORAGE_ACCOUNT_KEY": "CANARY-7==",
    "AZURE_STORAGE_CONTAINER": "logs",
    "OBSERVERS": r"console exchange-log:url=az\://logs:account_key=CANARY-8==:bodies=false",
}
TOML = """
[[keys]]
name = "alice"
key = "CANARY-9"
upstream_key = "CANARY-10"
[[upstreams]]
name = "a"
base_url = "http://a.example/v1"
api_key = "CANARY-11"
"""


def test_every_setting_is_described_and_no_secret(tmp_path):
    """Each setting has its line; keys are named by their hash."""
    (tmp_path / "c.toml").write_text(TOML)
    settings = load_settings({"config": "c.toml"}, ENVIRON, tmp_path)
    text = describe(settings)
    lines = text.splitlines()
    assert lines[0] == "mode: tenants"
    assert 'upstream.api_key = "[redacted]"  # from OPENAI_API_KEY' in lines
    assert any(line.startswith("cache.url = ") and "cache.example:6379/1" in line for line in lines)
    assert 'keys[0].name = "alice"  # from c.toml' in lines
    assert "bodies=false" in text
    for row in settings_reference():
        assert any(line.startswith((f"{row.toml} = ", f"{row.toml}[")) for line in lines), row.toml
    for shown in (text, repr(settings), str(settings)):
        assert "CANARY" not in shown


def test_default_that_depends_is_described(tmp_path):
    """`cost.state_file = none` was all there was to see with a budget, which is kept in a file."""
    lines = describe(load_settings({}, {}, tmp_path)).splitlines()
    (line,) = [line for line in lines if line.startswith("cost.state_file = ")]
    assert line.startswith("cost.state_file = none  # openai-proxy.sqlite3 with budgets, ")
    assert "upstream.ca_file = none  # system store" in lines
    assert "cache.url = none" in lines
    assert "client_api_keys = []" in lines


def test_reference_says_something_of_every_setting():
    """No setting is without a meaning or a default."""
    for row in settings_reference():
        assert row.meaning
        assert row.default
