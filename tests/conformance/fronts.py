"""Real proxies in front of the daemon, as operators have them: nginx and HAProxy, on ports of loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path

from world.client import accepts
from world.services import ServiceProcess
from world.waiting import eventually

NGINX = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.err warn;
events {{ worker_connections 512; }}
http {{
    access_log off; client_max_body_size 0; keepalive_requests 100000;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/a; uwsgi_temp_path {directory}/b; scgi_temp_path {directory}/c;
    upstream daemon {{ server 127.0.0.1:{daemon}; keepalive 16; }}
    map $http_upgrade $onward {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://daemon; proxy_http_version 1.1; proxy_read_timeout 600s;
            proxy_buffering off; proxy_request_buffering off; proxy_next_upstream off;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $onward;
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 10s
    timeout client 600s
    timeout server 600s
    retries 0
frontend front
    bind 127.0.0.1:{port}
    default_backend daemon
backend daemon
    option httpchk
    server one 127.0.0.1:{daemon} check inter 500ms send-proxy-v2
"""


class Front(ServiceProcess):
    """One of them, started at once; `daemon` is the port of the daemon behind it.

    HAProxy speaks the PROXY protocol, so its port is one of the daemon's `haproxy:` endpoints.
    """

    def __init__(self, program: str, directory: Path, daemon: int) -> None:
        super().__init__()
        self.directory = directory / program
        self.directory.mkdir()
        file = self.directory / "conf"
        text = {"nginx": NGINX, "haproxy": HAPROXY}[program]
        file.write_text(text.format(directory=self.directory, port=self.port, daemon=daemon))
        options = (
            ["-p", str(self.directory), "-c", str(file)] if program == "nginx" else ["-db", "-f", str(file)]
        )
        with (self.directory / "output").open("wb") as output:
            self._run([program, *options], stdout=output, stderr=subprocess.STDOUT)
        assert eventually(lambda: accepts(self.port), 20), (self.directory / "output").read_text()
