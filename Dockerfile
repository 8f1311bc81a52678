# The page in a container, on a CPU:
#   docker build -t specdecodes .
#   docker run --read-only --tmpfs /tmp -v specdecodes:/cache -p 7860:7860 specdecodes
# On an NVIDIA GPU, with `--gpus all` behind `docker run`:
#   docker build -t specdecodes --build-arg GPU=yes .
FROM python:3.11-slim

# A compiler makes the kernels, for the processor of whatever machine runs them.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

ARG GPU=
WORKDIR /srv/specdecodes
COPY requirements.txt requirements-cuda.txt ./
# Without a GPU, torch's build for the CPU alone, which is a tenth of the size.
RUN pip install --no-cache-dir \
    $([ -n "$GPU" ] && echo "-r requirements-cuda.txt" || echo "--extra-index-url https://download.pytorch.org/whl/cpu") \
    -r requirements.txt
COPY LICENSE NOTICE app.py ./
COPY app app
COPY core core
COPY presets presets
COPY visualize visualize
RUN python -m compileall -q app core presets visualize app.py

# Models, measured costs and kept runs; a volume that is empty begins with what is here.
ENV SPECDECODES_HOME=/cache HF_HOME=/cache/hub PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN install --directory --owner=1000 --group=1000 /cache
USER 1000:1000
RUN python -m core.models.prepare
VOLUME /cache

ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860
EXPOSE 7860
HEALTHCHECK --start-period=120s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"GRADIO_SERVER_PORT\"]}/healthz')"]
CMD ["python", "app.py"]
