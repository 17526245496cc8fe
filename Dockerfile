# Megatron-LRPS on NVIDIA's PyTorch image, whose torch, Transformer Engine and apex were built together and stay.
# Not built by this project's tests: the image has 20 GB, and what it is for needs a GPU. Build and look:
#   docker build -t megatron-lrps . && docker run --rm --gpus all megatron-lrps lrps doctor
# For pyxis:      enroot import dockerd://megatron-lrps:latest
# For apptainer:  apptainer build megatron-lrps.sif docker-daemon://megatron-lrps:latest

# Any release with Python 3.12 or newer; take the one that your driver supports.
ARG BASE=nvcr.io/nvidia/pytorch:25.09-py3
FROM ${BASE}

COPY . /opt/megatron-lrps

# All that the image has is a constraint: pip adds what is missing, and fails rather than replace anything.
# The image's own constraint file would forbid versions of what is added.
RUN set -eu; \
    unset PIP_CONSTRAINT; \
    pip list --format=freeze | grep -Ev '^(pip|megatron-lrps)==' > /opt/image.txt; \
    pip install --no-cache-dir --constraint /opt/image.txt \
        '/opt/megatron-lrps[hf]' 'megatron-core==0.19.2' psutil sentencepiece tensorboard; \
    pip list --format=freeze > /opt/after.txt; \
    grep -vxFf /opt/after.txt /opt/image.txt && { echo 'These packages of the image were replaced.' >&2; exit 1; }; \
    lrps --version
