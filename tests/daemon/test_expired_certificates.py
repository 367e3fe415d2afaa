"""What is said of certificates that have expired."""

import datetime

import trustme

from openai_proxy.daemon.expired_certificates import expired_certificates
from openai_proxy.settings import load_settings

END = datetime.datetime(2030, 1, 31, tzinfo=datetime.timezone.utc)


def test_a_certificate_that_has_expired_is_told(tmp_path):
    """The start, a reload and `check` said nothing, and every client refused the port."""
    issued = trustme.CA().issue_cert("localhost", not_after=END)
    pem = tmp_path / "both.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(pem)
    (tmp_path / "c.toml").write_text(
        f'''
        [[upstreams]]
        name = "one"
        base_url = "https://upstream.example/v1"
        api_key = "sk"
        client_cert = "{pem}"
        '''
    )
    settings = load_settings(
        {"config": "c.toml", "ports": [f"ssl:1:privateKey={pem}", "tcp:2"]},
        {"ADMIN__PORT": f"ssl:3:privateKey={pem}"},
        tmp_path,
    )
    assert list(expired_certificates(settings, lambda: END.timestamp() - 1)) == []
    assert list(expired_certificates(settings, END.timestamp)) == [
        f"the certificate of ssl:1:privateKey={pem} expired on 2030-01-31: clients refuse it",
        f"the certificate of ssl:3:privateKey={pem} expired on 2030-01-31: clients refuse it",
        f"upstreams[0].client_cert: {pem} expired on 2030-01-31: the upstream refuses it",
    ]
