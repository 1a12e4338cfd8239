# One image for the dashboard, the supervisor and the model server: they differ in their command
# (compose.yaml). torch brings CUDA's libraries along, so the same small base does for both builds:
#
#   docker build -t chromabench .                                  for CUDA: torch as pip finds it
#   docker build -t chromabench --build-arg TORCH_INDEX=ADDRESS .  for the CPU: much smaller
#
# ADDRESS is the --index-url that PyTorch's install page names for "CPU". See docs/deployment.md.

ARG BASE=python:3.11-slim-bookworm

# What is to be installed, out of pyproject.toml: only when that changes is it fetched anew.
FROM ${BASE} AS wanted
ARG EXTRAS="mlflow onnx postgresql"
COPY pyproject.toml /
RUN python -c '\
import pathlib, re, sys, tomllib; \
project = tomllib.loads(pathlib.Path("/pyproject.toml").read_text())["project"]; \
extras = [it for name in sys.argv[1:] for it in project["optional-dependencies"][name]]; \
torch = [it for it in project["dependencies"] if re.match("torch(vision)?[^a-z-]", it)]; \
pathlib.Path("/torch.txt").write_text("\n".join(torch) + "\n"); \
pathlib.Path("/wanted.txt").write_text("\n".join([*project["dependencies"], *extras]) + "\n")' \
    $EXTRAS

FROM ${BASE}
ENV HOME=/tmp \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Chromium draws exported figures as PNG; dbus-x11 spares the systemd that it would bring along. A
# machine's id would be that of every container, and change with every build: runs know hosts by it.
RUN apt-get update \
    && apt-get install -y --no-install-recommends chromium dbus-x11 fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/* /etc/machine-id /var/lib/dbus/machine-id

# A number and no name in orders: volumes keep it, whatever the machine calls its users.
RUN groupadd --gid 10001 chromabench \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --shell /usr/sbin/nologin chromabench \
    && install --directory --owner 10001 --group 10001 /data
WORKDIR /app

# The largest layers first: torch, then everything else, then our own few files.
ARG TORCH_INDEX=""
COPY --from=wanted /torch.txt ./
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r torch.txt
COPY --from=wanted /wanted.txt ./
RUN pip install -r wanted.txt "streamlit[auth]"

# Installed in place: styles and scripts lie beside the code. Nobody compiles in a read-only image.
COPY pyproject.toml README.md ./
COPY dashboard dashboard
COPY engine engine
RUN pip install --no-deps --editable . \
    && python -m compileall -q dashboard engine \
    && chmod -R a+rX .

# Alone, without a PostgreSQL: the database lies beside the files.
ENV CHROMABENCH_ARTIFACTS=/data \
    CHROMABENCH_DATABASE_URL=sqlite:////data/runs.db
VOLUME /data
USER 10001:10001
EXPOSE 8501 5050
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["python", "-m", "dashboard", "--address", "0.0.0.0", "--port", "8501", "--headless"]
