# The daemon alone, not as root:
#
#   docker build -t openai-proxy .
#   docker run --rm -p 8080:8080 --stop-timeout 40 -e OPENAI_API_KEY openai-proxy

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY . .
# The last command writes Twisted's plugin cache, which a user who may not write there would miss at every start.
RUN python -m venv /opt/openai-proxy \
    && /opt/openai-proxy/bin/pip install --no-cache-dir '.[all]' \
    && cd / && /opt/openai-proxy/bin/twistd --help >/dev/null

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/openai-proxy openai-proxy
COPY --from=build /opt/openai-proxy /opt/openai-proxy
USER openai-proxy
# .env is looked for here, and relative paths start here.
WORKDIR /var/lib/openai-proxy
# All interfaces of the container; -e PORT=9000 or a --port is another, and options behind the image's name leave it.
ENV PORT=8080
EXPOSE 8080
STOPSIGNAL SIGTERM
# Without ProxyHandler, an http_proxy of the environment would be asked for 127.0.0.1.
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s CMD ["/opt/openai-proxy/bin/python", "-c", \
    "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=2)"]
# A --port needs a different health check.
ENTRYPOINT ["/opt/openai-proxy/bin/twistd", "-n", "--pidfile=", "-l", "-", "openai-proxy"]
