# The same base twice: the virtual environment moves from the one to the other and must find its Python there.
FROM python:3.13-slim AS build
# No pip inside what is shipped; the base's own installs into it from outside.
RUN python3 -m venv --without-pip /opt/tandem
WORKDIR /src
# What we depend on changes seldom: a layer of its own.
COPY pyproject.toml ./
RUN python3 -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
    extras = project["optional-dependencies"]; \
    print(*project["dependencies"], *extras["mcp"], *extras["vertex"], sep="\n")' > requirements.txt \
 && python3 -m pip --python /opt/tandem install --no-cache-dir --disable-pip-version-check -r requirements.txt \
 && rm -rf /opt/tandem/lib/python3*/site-packages/numpy/tests /opt/tandem/lib/python3*/site-packages/numpy/*/tests
COPY README.md LICENSE ./
COPY codecs codecs
COPY providers providers
COPY app app
RUN python3 -m pip --python /opt/tandem install --no-cache-dir --disable-pip-version-check --no-deps .

FROM python:3.13-slim
LABEL org.opencontainers.image.title="tandem" \
      org.opencontainers.image.description="A telephony bridge: phone calls in, realtime voice models out." \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/tandem /opt/tandem
# One thread for numpy: a call's resampling is far too small to share. HOST: the container's border is the firewall.
ENV PATH=/opt/tandem/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    HOST=0.0.0.0
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python3", "-m", "tandem.healthcheck"]
ENTRYPOINT ["tandem"]
CMD ["serve"]
