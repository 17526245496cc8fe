# shellcheck shell=bash disable=SC2034
# The settings of this cluster, which every job reads on its first node. Copy this file, edit the copy, and name it in the
# plan (launch.slurm.site) or in LRPS_SITE. You need no settings if python3 on the PATH has megatron_lrps.

# The Python of the ranks, for example of a virtual environment on a disk that all nodes see. In a container it is the
# container's Python; the default there is python3.
# LRPS_PYTHON=/shared/venv/bin/python

# Modules.
# module purge; module load cuda nccl

# A container: an enroot image for pyxis (srun's --container-image), or a .sif for apptainer. It sees LRPS_MOUNTS: with
# lrps submit the folders that the plan names, else the campaign's folder. A container in the plan takes precedence.
# LRPS_CONTAINER=${LRPS_CONTAINER:-/shared/images/megatron.sqsh}
# LRPS_CONTAINER_RUNTIME=pyxis   # or apptainer
# LRPS_MOUNTS=/shared            # pyxis: /here:/there,/another; apptainer: the same

# NCCL and InfiniBand: the interfaces and adapters that carry the traffic.
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0
# export NCCL_IB_HCA=mlx5
# export NCCL_DEBUG=WARN

# Megatron wants one connection for overlapping tensor parallelism; FSDP on Blackwell wants more.
# export CUDA_DEVICE_MAX_CONNECTIONS=1

# A check that a node must pass before ranks start on it, besides the checks of lrps. Exit code 0 means fit; otherwise its
# last line is the reason.
# LRPS_HEALTH_SECONDS=120        # the time for the checks of lrps; a node that gives no answer in time is not fit
# LRPS_HEALTH_CHECK='dcgmi diag -r 1'
