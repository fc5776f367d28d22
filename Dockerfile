FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv /opt/voxplane \
    && /opt/voxplane/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements/build.txt -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/voxplane/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --create-home --home-dir /var/lib/voxplane voxplane
COPY --from=build /opt/voxplane /opt/voxplane
USER voxplane
WORKDIR /var/lib/voxplane
ENV PATH=/opt/voxplane/bin:$PATH VOXPLANE_HOST=0.0.0.0 VOXPLANE_DATA_DIR=/var/lib/voxplane/data
VOLUME /var/lib/voxplane
EXPOSE 5005
CMD ["voxplane", "serve"]
