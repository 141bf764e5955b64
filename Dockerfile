# The suite with DCM4CHE and Java. Build it in this folder:
#
#   docker build -t niffler/cold-extraction .
#
# config.json, system.json and the lists in csv/ become part of the image. Lists name patients: do not pass such an
# image on, or leave csv/ to the examples and mount your own files, as docker-compose.yml does.

FROM debian:bookworm-slim AS build

RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl python3-venv unzip \
 && rm -rf /var/lib/apt/lists/*

ARG DCM4CHE_VERSION=5.34.3
ARG DCM4CHE_URL=https://sourceforge.net/projects/dcm4che/files/dcm4che3/${DCM4CHE_VERSION}/dcm4che-${DCM4CHE_VERSION}-bin.zip/download
# With and without the version in its path, so that system.json may name either.
RUN curl --fail --location --silent --show-error --retry 3 --output /tmp/dcm4che.zip "${DCM4CHE_URL}" \
 && unzip -q /tmp/dcm4che.zip -d /opt \
 && rm /tmp/dcm4che.zip \
 && ln -s "dcm4che-${DCM4CHE_VERSION}" /opt/dcm4che \
 && test -x /opt/dcm4che/bin/storescp

COPY requirements.txt /tmp/
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir -r /tmp/requirements.txt \
 && /opt/venv/bin/pip uninstall -y pip setuptools


FROM debian:bookworm-slim

# tini passes signals on at once: a process 1 without a handler, as Python is while it starts, does not get them.
# Java's package links its manual pages; the slim image has no folder for them.
RUN mkdir -p /usr/share/man/man1 \
 && apt-get update \
 && apt-get install -y --no-install-recommends default-jre-headless python3 tini tzdata \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --home-dir /data --shell /usr/sbin/nologin niffler

COPY --from=build /opt /opt
COPY ColdDataRetriever.py TestConnection.py config.json system.json description.csv.xsl /opt/niffler/
COPY niffler /opt/niffler/niffler
COPY demo /opt/niffler/demo
COPY csv /data/csv
COPY demo/docker /demo
COPY demo/studies.csv /demo/csv/

# Any user may run it, and does with docker run --user and in compose: the one who owns the mounted folders.
RUN install -d -m 1777 /data /data/csv /opt/data /opt/data/new-study /demo /demo/csv \
 && chmod -R a+rX /opt/niffler /data/csv /demo

ENV LANG=C.UTF-8 \
    PATH=/opt/dcm4che/bin:/opt/venv/bin:$PATH \
    MPLCONFIGDIR=/opt/matplotlib

# matplotlib's list of fonts takes seconds to make. Its usual place is the home folder, which is / or logs/ of the host.
RUN python3 -c "import matplotlib.font_manager" \
 && chmod 1777 "$MPLCONFIGDIR"

USER niffler
WORKDIR /data
EXPOSE 4243
ENTRYPOINT ["tini", "--", "python3", "/opt/niffler/ColdDataRetriever.py"]
