# One image for the dashboard, the supervisor and the model server, which differ only in their command
# (compose.yaml). torch contains the libraries of CUDA, so that both builds use the same small base:
#
#   docker build -t chromabench .                                  for CUDA: the default torch of pip
#   docker build -t chromabench --build-arg TORCH_INDEX=ADDRESS .  for the CPU: much smaller
#
# ADDRESS is the --index-url that PyTorch's install page names for "CPU". See docs/deployment.md.

ARG BASE=python:3.11-slim-bookworm

# Selects the packages of the image from requirements.lock. torch has a file of its own, so that its
# large layer is downloaded again only if torch changes. The hashes of the lock are those of the
# files on PyPI. Another index has other files of the same version, so that TORCH_INDEX installs the
# locked version without a hash: it has to be an index that you trust, with an https:// address.
FROM ${BASE} AS requirements
ARG EXTRAS="auth mlflow onnx postgresql"
ARG TORCH_INDEX=""
COPY requirements.lock /
COPY scripts/lock.py /scripts/
RUN if [ -n "$TORCH_INDEX" ]; \
    then python /scripts/lock.py pins torch torchvision > /torch.txt; \
    else python /scripts/lock.py select torch > /torch.txt; \
    fi \
    && python /scripts/lock.py select app $EXTRAS > /packages.txt

FROM ${BASE}
ENV HOME=/tmp \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Chromium draws exported figures as PNG; dbus-x11 avoids the installation of systemd as a dependency
# of Chromium. The machine id is deleted, because runs identify their host by it: every container of
# this image would have the same id, and every build another one.
RUN apt-get update \
    && apt-get install -y --no-install-recommends chromium dbus-x11 fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/* /etc/machine-id /var/lib/dbus/machine-id

# Volumes store the number of their owner, and the machine may have no user of this name. Therefore
# `USER` and compose.yaml use the number.
RUN groupadd --gid 10001 chromabench \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --shell /usr/sbin/nologin chromabench \
    && install --directory --owner 10001 --group 10001 /data
WORKDIR /app

# The largest layers come first: torch, then the other packages, then the files of this project.
# Nothing is resolved or built: the lock names every package.
ARG TORCH_INDEX=""
COPY --from=requirements /torch.txt ./
RUN pip install --no-deps --only-binary :all: \
    ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --requirement torch.txt
COPY --from=requirements /packages.txt ./
RUN pip install --no-deps --only-binary :all: --require-hashes --requirement packages.txt

# An editable install, because style sheets and scripts are beside the code. The modules are compiled
# here, because the file system of a container is read-only.
COPY LICENSE NOTICE README.md pyproject.toml ./
COPY dashboard dashboard
COPY engine engine
RUN pip install --no-deps --no-build-isolation --editable . \
    && pip check \
    && python -m compileall -q dashboard engine \
    && chmod -R a+rX .

# Default for a container without PostgreSQL: a SQLite database beside the other files.
ENV CHROMABENCH_ARTIFACTS=/data \
    CHROMABENCH_DATABASE_URL=sqlite:////data/runs.db
VOLUME /data
USER 10001:10001
EXPOSE 8501 5050
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["python", "-m", "dashboard", "--address", "0.0.0.0", "--port", "8501", "--headless"]
