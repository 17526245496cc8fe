# shellcheck shell=bash disable=SC2034
# This cluster's settings, read by every job on its first node. Copy it, edit the copy, and name it in the plan
# (launch.slurm.site) or in LRPS_SITE. Nothing here is needed where python3 on the PATH has megatron_lrps.

# The Python of the ranks: a virtual environment's, on a disk that all nodes see; inside of a container its own, python3
# where nothing is said here.
# LRPS_PYTHON=/shared/venv/bin/python

# Modules.
# module purge; module load cuda nccl

# A container: an enroot image for pyxis (srun's --container-image), or a .sif for apptainer; and what it sees: what
# lrps submit gives (the folders that the plan names), or alone the campaign's folder. The plan's container wins.
# LRPS_CONTAINER=${LRPS_CONTAINER:-/shared/images/megatron.sqsh}
# LRPS_CONTAINER_RUNTIME=pyxis   # or apptainer
# LRPS_MOUNTS=/shared            # pyxis: /here:/there,/another; apptainer: the same

# NCCL and InfiniBand: which interfaces and adapters carry the traffic.
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0
# export NCCL_IB_HCA=mlx5
# export NCCL_DEBUG=WARN

# Megatron wants one connection where tensor parallelism overlaps; FSDP on Blackwell wants more.
# export CUDA_DEVICE_MAX_CONNECTIONS=1

# What a node must pass besides lrps' own checks before ranks start on it; 0 is fit, the last line it says is the reason.
# LRPS_HEALTH_SECONDS=120        # for the checks of lrps; a node that gives no answer is not fit
# LRPS_HEALTH_CHECK='dcgmi diag -r 1'
