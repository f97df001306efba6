# The server, and everything else that `llm-backend` can do.
#   docker build -t llm-backend .
#   docker run -p 127.0.0.1:8080:8080 -v llm-backend:/data llm-backend

FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/llm-backend
ENV PATH=/opt/llm-backend/bin:$PATH
WORKDIR /build
# By itself, so that a change of the source leaves this layer alone. Nothing is compiled, nothing is unpinned.
COPY requirements.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-deps --no-build-isolation . \
    && python -m compileall -q /opt/llm-backend/lib \
    && pip uninstall --yes hatchling pip

FROM python:3.13-slim-trixie
# A number, since orchestrators that refuse root cannot read names.
RUN groupadd --gid 10001 llm-backend \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin llm-backend \
    && install -d -m 0700 -o 10001 -g 10001 /data
COPY --from=build /opt/llm-backend /opt/llm-backend
ENV PATH=/opt/llm-backend/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LLM_BACKEND__DATA_FOLDER=/data \
    LLM_BACKEND__SERVER__HOST=0.0.0.0 \
    LLM_BACKEND__SERVER__PORT=8080 \
    LLM_BACKEND__LOG__FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
# Alive, not ready: a database that is away for a minute is no reason to be restarted.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['LLM_BACKEND__SERVER__PORT']}/healthz\", timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["llm-backend"]
CMD ["serve"]
