"""Client certificates towards upstreams: what is taken, and what stops the start with one line."""

import re

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from openai_proxy.daemon.destinations import known_destinations
from openai_proxy.settings import SettingsError, load_settings


@pytest.fixture
def files(tmp_path):
    """Write certificates and keys that fit together, and some that do not."""
    authority = trustme.CA()
    one, other = authority.issue_cert("one.example"), authority.issue_cert("other.example")
    one.cert_chain_pems[0].write_to_path(str(tmp_path / "c.pem"))
    one.private_key_pem.write_to_path(str(tmp_path / "k.pem"))
    one.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "other.pem"))
    key = serialization.load_pem_private_key(one.private_key_pem.bytes(), None)
    (tmp_path / "locked.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    (tmp_path / "no.pem").write_text("no certificate\n")
    return tmp_path


def load(directory, toml):
    (directory / "c.toml").write_text(toml)
    return load_settings({"config": "c.toml"}, {}, directory)


def upstream(**names):
    return "[upstream]\n" + "".join(f'{name} = "{value}"\n' for name, value in names.items())


def entry(name, url, **names):
    given = {"name": name, "base_url": url, **names}
    return "[[upstreams]]\n" + "".join(f'{key} = "{value}"\n' for key, value in given.items())


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ({"client_cert": "gone.pem"}, r"{}.client_cert.*cannot read .*gone.pem"),
        ({"client_cert": "c.pem", "client_key": "gone.pem"}, r"{}.client_key.*cannot read .*gone.pem"),
        ({"client_cert": "c.pem", "client_key": "other.pem"}, r"{}.client_cert.*is not that of"),
        ({"client_cert": "c.pem"}, r"{}.client_cert.*c.pem must hold a certificate and its key"),
        ({"client_cert": "no.pem", "client_key": "k.pem"}, r"{}.client_cert.*must hold"),
        ({"client_cert": "c.pem", "client_key": "locked.pem"}, r"{}.client_cert.*without a passphrase"),
        ({"client_key": "k.pem"}, r"{}.client_key.*needs {}.client_cert"),
    ],
    ids=str,
)
@pytest.mark.parametrize("table", ["upstream", "upstreams[0]"])
def test_a_pair_that_does_not_serve_stops_the_start(files, table, names, pattern):
    """In the one upstream and in any of several: one line that names the setting."""
    toml = upstream(**names) if table == "upstream" else entry("a", "https://a.example", **names)
    with pytest.raises(SettingsError) as caught:
        load(files, toml)
    assert re.search(pattern.replace("{}", re.escape(table)), str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names", [{"client_cert": "both.pem"}, {"client_cert": "c.pem", "client_key": "k.pem"}]
)
def test_paths_mean_the_directory_of_the_start(files, names):
    """A daemon changes its directory; certificate and key may stand in one file."""
    default, _ = known_destinations(load(files, upstream(base_url="https://a.example", **names)))
    assert default.origin.certificate.file == str(files / names["client_cert"])


def test_a_certificate_goes_to_the_origin_it_was_given_for(files):
    """Another upstream learns nothing of who this proxy is elsewhere."""
    toml = (
        upstream(base_url="https://a.example/v1", client_cert="both.pem")
        + entry("same", "https://a.example/other")
        + entry("port", "https://a.example:444")
        + entry("own", "https://b.example", client_cert="c.pem", client_key="k.pem")
    )
    _, named = known_destinations(load(files, toml))
    shown = {name: to.origin.certificate and to.origin.certificate.file for name, to in named.items()}
    both, own = str(files / "both.pem"), str(files / "c.pem")
    assert shown == {"default": both, "same": both, "port": None, "own": own}


def test_a_certificate_that_nothing_uses_is_an_error(files):
    """A setting that looks right and does nothing is none."""
    toml = upstream(base_url="https://a.example", client_cert="both.pem") + entry("b", "https://b.example")
    with pytest.raises(SettingsError, match=r"upstream.client_cert.*none of \[\[upstreams\]\]"):
        load(files, toml)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://llm_server:8000/v1", "http://llm_server:8000"),
        ("https://ab--cd/v1", "https://ab--cd"),
        ("https://B\u00dcRO.example/v1", "https://xn--bro-hoa.example"),
        ("http://\u65e5\u672c.example:81", "http://xn--wgv71a.example:81"),
    ],
)
def test_names_of_compose_and_of_any_script_are_taken(tmp_path, url, origin):
    """What the system resolves is used as it stands; what is not ASCII is encoded."""
    default, _ = known_destinations(load_settings({}, {"OPENAI_API_BASE": url}, tmp_path))
    assert str(default.origin) == origin


@pytest.mark.parametrize("variable", ["OPENAI_API_BASE", "CACHE__URL"])
@pytest.mark.parametrize("host", ["x" * 64, "a..b", ".a", "a." + "b." * 130, "b\u00fc cher", "a\u0000b"])
def test_a_name_that_nothing_resolves_stops_the_start(tmp_path, variable, host):
    """Not the first request."""
    scheme = "redis" if variable == "CACHE__URL" else "https"
    with pytest.raises(SettingsError, match=r"upstream.base_url|cache.url"):
        load_settings({}, {variable: f"{scheme}://{host}:9"}, tmp_path)
