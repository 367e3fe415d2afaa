# The daemon, not as root, on a read-only file system:
#
#   docker build -t openai-proxy .
#   docker run --rm -p 127.0.0.1:8080:8080 --read-only --tmpfs /tmp --cap-drop ALL \
#     --security-opt no-new-privileges --ulimit nofile=65536:65536 --stop-timeout 40 \
#     -e OPENAI_API_KEY -e CLIENT_API_KEYS openai-proxy
#
# deploy/compose.yaml says the same for Compose. What has to outlive the container (exchange log, state file) goes into
# a volume at /var/lib/openai-proxy.

# A tag moves; a digest does not. For an image that can be built again as it was:
#   docker buildx imagetools inspect python:3.13-slim          # prints the digest of today
#   docker build --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:... -t openai-proxy .
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS dependencies
WORKDIR /src
COPY constraints.txt constraints-build.txt ./
# The environment that goes into the image has neither pip nor setuptools; both stay in these stages.
RUN python -m venv --without-pip /opt/openai-proxy \
    && pip --python /opt/openai-proxy/bin/python install --no-cache-dir --require-hashes -r constraints.txt \
    && pip install --no-cache-dir --require-hashes -r constraints-build.txt

FROM dependencies AS build
COPY . .
# What is installed from here on is the proxy's own, and goes into a layer of its own: a new version of the proxy moves
# some hundred kilobytes, not the packages that it depends on. twistd writes Twisted's plugin cache, which a user who may
# not write there would miss at every start.
RUN touch /before \
    && pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && pip --python /opt/openai-proxy/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl \
    && cd / && /opt/openai-proxy/bin/twistd --help >/dev/null \
    && find opt/openai-proxy -cnewer /before ! -type d ! -path '*/__pycache__/*' -print0 >/files \
    && find opt/openai-proxy -cnewer /before -path '*/openai_proxy/*__pycache__/*' -print0 >>/files \
    && mkdir /own && tar --null --no-recursion -cf - -T /files | tar -xf - -C /own

FROM ${PYTHON_IMAGE}
# Whoever gets into the container finds nothing to install programs with. OpenShift starts it as a user of its own choice,
# for whom a home directory of mode 700 would be none to start in.
RUN useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/openai-proxy openai-proxy \
    && chmod 755 /var/lib/openai-proxy \
    && { python -m pip uninstall -y --quiet pip setuptools wheel || true; } \
    && rm -rf /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/pip* /root/.cache
COPY --from=dependencies /opt/openai-proxy /opt/openai-proxy
COPY --from=build /own/ /
COPY LICENSE THIRD-PARTY.md /usr/share/doc/openai-proxy/
USER 10001:10001
# .env is looked for here, and relative paths start here.
WORKDIR /var/lib/openai-proxy
# All interfaces of the container; -e PORT=9000 or a --port is another, and options behind the image's name leave it.
ENV PORT=8080 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8080
STOPSIGNAL SIGTERM
# Without ProxyHandler, an http_proxy of the environment would be asked for 127.0.0.1.
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s CMD ["/opt/openai-proxy/bin/python", "-c", \
    "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=2)"]
# A --port needs a different health check.
ENTRYPOINT ["/opt/openai-proxy/bin/twistd", "-n", "--pidfile=", "-l", "-", "openai-proxy"]
