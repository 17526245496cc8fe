"""What the server of ``ranks`` imports before it forks: Megatron on the CPU backend, and none of the plugin's hooks."""

import importlib
import os

from megatron_lrps.plan.cpu_flags import CPU_ENV

os.environ.update(CPU_ENV, CUDA_VISIBLE_DEVICES="")

from megatron_lrps.training import cpu
from megatron_lrps.training.megatron.installed import installed_release

cpu.patch()

for name in (installed_release().tokenizers, "megatron.training.training"):
    importlib.import_module(name)
