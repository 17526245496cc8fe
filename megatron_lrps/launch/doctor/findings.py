"""Whether a machine is fit for a plan: what the plan needs, what the machine has, and how to fix what is missing."""

from typing import NamedTuple

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.data.tokenizer_size import vocabulary_of
from megatron_lrps.errors import PlanError
from megatron_lrps.launch.doctor.machine import CONTAINERS, LIBRARIES, SLURM, Machine
from megatron_lrps.plan import Plan
from megatron_lrps.plan.async_saves import NVRX, is_old_nvrx, needs_nvrx
from megatron_lrps.plan.cost import model_size
from megatron_lrps.plan.data_files import require_data
from megatron_lrps.training.megatron.installed import BEST, RELEASES, is_newer

_HOPPER, _ADA, _BLACKWELL = [9, 0], [8, 9], [10, 0]
_RECIPES = {"blockwise": _HOPPER, "mxfp8": _BLACKWELL}
_BLOCKWISE_CUDA = (12, 9)
"""The first CUDA version in which Transformer Engine supports blockwise FP8."""
_BARE = "pip install 'megatron-lrps[megatron]'; a container of NGC's PyTorch image has its own torch"
_TE = "NGC's PyTorch image has it; else pip install 'megatron-lrps[te]'"

FUSION = "fused_weight_gradient_mlp_cuda"
_FUSION_FIX = "install apex with --cpp_ext --cuda_ext, or set megatron.no-gradient-accumulation-fusion: true."


class Finding(NamedTuple):
    """One check of `lrps doctor`.

    Attributes:
        name: The name of the checked item.
        found: What the machine has, in words.
        fit: Whether that is enough; None if nothing depends on it.
        fix: What to do if it is missing or not enough; else empty.
    """

    name: str
    found: str
    fit: bool | None
    fix: str = ""


def _need(name: str, found: str, fit: bool, fix: str) -> Finding:
    return Finding(name, found, fit, "" if fit else fix)


def inventory(machine: Machine) -> list[Finding]:
    """Return all that the machine has, whether a plan needs it or not; missing items come with a fix."""
    slurm = [name for name in SLURM if machine.commands[name]]
    runtimes = [name for name in CONTAINERS if machine.commands[name]]
    findings = [
        Finding("Python", machine.python, None),
        _module(machine, "torch", f"{_BARE}."),
        _megatron(machine),
        *_gpus(machine),
        _module(machine, "transformer_engine.pytorch", f"{_TE}."),
        _fp8(machine, "delayed"),
        _module(machine, "apex", f"NGC's PyTorch image has it; {_FUSION_FIX}"),
        _module(machine, FUSION, _FUSION_FIX),
        _module(machine, "flash_attn", "not needed: Transformer Engine's attention is used."),
        *(_library(machine, name) for name in LIBRARIES),
        _need("Slurm", ", ".join(slurm) or "no commands", bool(slurm), "run lrps submit on a login node."),
        Finding("containers", ", ".join(runtimes) or "no runtime", None),
        _storage(machine, None),
    ]
    return [finding._replace(fit=None) for finding in findings]


_LIBRARY_FIXES = {
    "sentencepiece": "for tokenizer.type sentencepiece: pip install sentencepiece.",
    "tokenizers": "for tokenizer.type huggingface and lrps prepare: pip install 'megatron-lrps[data]'.",
    "transformers": "for tokenizer.type huggingface and lrps export: pip install 'megatron-lrps[hf]'.",
    "tiktoken": "for tokenizer.type tiktoken: pip install tiktoken.",
    "gigatoken": "for fast byte-level BPE in lrps prepare: pip install 'megatron-lrps[data]'.",
    "tensorboard": "for the losses and lrps report: pip install tensorboard.",
    "matplotlib": "for pictures: pip install matplotlib.",
    NVRX: "for async-save with Megatron's default strategy, nvrx, and for launch.ft_launcher: use a NeMo "
    "container, which has 0.6 or newer (package indexes end at 0.4.1), or set async-strategy: mcore.",
}
_TOKENIZER_LIBRARIES = {
    "SentencePieceTokenizer": "sentencepiece",
    "HuggingFaceTokenizer": "transformers",
    "TikTokenizer": "tiktoken",
}


def _module(machine: Machine, name: str, fix: str) -> Finding:
    """Check a library; it is fit if it imports."""
    found, package = machine.modules[name], name.split(".")[0]
    if version := found.get("version"):
        return Finding(package, version, True)
    if found["error"].startswith(f"ModuleNotFoundError: No module named '{package}"):
        return Finding(package, "not installed", False, fix)
    return Finding(package, f"does not import: {found['error']}", False, "install a build for this torch.")


def _library(machine: Machine, name: str) -> Finding:
    version = machine.libraries[name]
    megatron = machine.version("megatron.core") or ""
    if name == NVRX and version is not None and is_old_nvrx(version) and not megatron.startswith("0.16."):
        why = f"{version}, and megatron-core {megatron} does not start beside a version before 0.6"
        return Finding(name, why, False, f"pip uninstall {NVRX}, or use a NeMo container, which has 0.6 or newer.")
    return _need(name, version or "not installed", version is not None, _LIBRARY_FIXES[name])


def _megatron(machine: Machine) -> Finding:
    """Judge the release of Megatron: a tested one is fit, an older one is not, and a newer one is tried."""
    found = _module(machine, "megatron.core", f"{_BARE}.")._replace(name="megatron-core")
    version = machine.version("megatron.core")
    if version is None:
        return found
    tested = f"{RELEASES[0].prefix}x to {RELEASES[-1].prefix}x"
    if version.startswith(tuple(release.prefix for release in RELEASES)):
        return found._replace(found=f"{version}, a supported release")
    if is_newer(version):
        return found._replace(
            found=f"{version}, newer than the tested releases ({tested})",
            fix="it is tried where all that the plugin hooks has the same signatures; compare a branch's first losses.",
        )
    return found._replace(fit=False, fix=f"install megatron-core {BEST}; the plugin supports {tested}.")


def _gpus(machine: Machine) -> list[Finding]:
    torch = machine.modules["torch"]
    kinds = [f"{gpu['name']} of {gpu['bytes'] / 1e9:.0f} GB, {_sm(gpu['capability'])}" for gpu in machine.gpus]
    words = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
    built = f"torch is built for CUDA {torch['cuda']}" if torch.get("cuda") else "torch is built without CUDA"
    fix = "train on a machine with GPUs; launch.device: cpu is for tests."
    return [
        _need("GPUs", words or f"none ({built})", bool(kinds), fix),
        Finding("NCCL", torch.get("nccl") or "none", None),
        Finding("InfiniBand", ", ".join(machine.infiniband) or "no adapters", None),
    ]


def _sm(capability: list[int]) -> str:
    return f"sm_{capability[0]}{capability[1]}"


def _fp8(machine: Machine, recipe: str) -> Finding:
    needed, lacks = _RECIPES.get(recipe, _ADA), []
    if machine.version("transformer_engine.pytorch") is None:
        lacks.append("no Transformer Engine")
    weakest = min((gpu["capability"] for gpu in machine.gpus), default=None)
    if weakest is None or weakest < needed:
        lacks.append(f"{_sm(weakest) if weakest else 'no GPU'}, {_sm(needed)} needed")
    cuda = str(machine.modules["torch"].get("cuda") or "")
    if recipe == "blockwise" and cuda and tuple(map(int, cuda.split(".")[:2])) < _BLOCKWISE_CUDA:
        lacks.append(f"torch has CUDA {cuda}, {'.'.join(map(str, _BLOCKWISE_CUDA))} needed")
    fix = "use such GPUs with Transformer Engine, or remove fp8-format from the plan before main starts."
    found = "; ".join(lacks) or "Transformer Engine, and GPUs that have it"
    return _need(f"FP8 {recipe}", found, not lacks, fix)


def _storage(machine: Machine, needed: int | None) -> Finding:
    storage = machine.storage
    free = f"{storage.free_bytes / 1e9:,.0f} GB free"
    words = f"{storage.folder} ({storage.kind}): {free}"
    if storage.missing:
        words += f", without {', '.join(storage.missing)}"
    if needed is not None:
        words += f", {needed / 1e9:,.0f} GB needed for the checkpoints to come"
    if hard := [what for what in storage.missing if what in ("write", "rename", "fsync")]:
        return Finding("storage", words, False, f"choose another `save`: {', '.join(hard)} must work.")
    if needed is not None and storage.free_bytes < needed:
        return Finding("storage", words, False, "make room, or choose another `save`.")
    return Finding("storage", words, None if needed is None else True)


def needs_of_run(
    campaign: Campaign, machine: Machine, *, ranks: int, nodes: int = 1, ethernet: bool = False
) -> list[Finding]:
    """Check what the machine needs to train the paths of a campaign.

    Args:
        campaign: The campaign.
        machine: The machine.
        ranks: The number of ranks that run on it.
        nodes: The number of machines of a job, this one included.
        ethernet: Whether NCCL is configured not to use InfiniBand.
    """
    plan = campaign.plan
    findings = [_module(machine, "torch", f"{_BARE}."), _megatron(machine)]
    if needs_nvrx(plan.megatron) or plan.launch.ft_launcher or is_old_nvrx(machine.libraries[NVRX] or "1"):
        findings.append(_library(machine, NVRX))
    findings += _gpu_needs(plan, machine, ranks) if plan.launch.device == "gpu" else [_cpu_need(machine)]
    if plan.launch.device == "gpu" and nodes > 1:
        findings.append(_fabric(machine, nodes, ethernet=ethernet))
    return [*findings, *_file_needs(campaign, machine)]


def _gpu_needs(plan: Plan, machine: Machine, ranks: int) -> list[Finding]:
    have = len(machine.gpus)
    fix = "lower launch.local.processes, or use another machine (launch.device: cpu is for tests)."
    findings = [_need("GPUs", f"{have}, {ranks} needed", have >= ranks, fix)]
    if plan.megatron.get("transformer-impl", "transformer_engine") == "transformer_engine":
        fix = f"{_TE}, or set megatron.transformer-impl: local."
        findings.append(_module(machine, "transformer_engine.pytorch", fix))
    if not plan.megatron.get("no-gradient-accumulation-fusion"):
        # Megatron's output layer asks for it, whichever implementation the other layers have.
        findings.append(_module(machine, FUSION, _FUSION_FIX))
    if plan.megatron.get("fp8-format"):
        findings.append(_fp8(machine, str(plan.megatron.get("fp8-recipe", "delayed"))))
    nccl = machine.modules["torch"].get("nccl")
    return [*findings, _need("NCCL", nccl or "none", nccl is not None, "install torch with CUDA.")]


def _fabric(machine: Machine, nodes: int, *, ethernet: bool) -> Finding:
    """Check the network between the nodes; without InfiniBand NCCL silently takes any other."""
    found = ", ".join(machine.infiniband) or ("Ethernet, chosen for NCCL" if ethernet else "no InfiniBand adapter")
    fix = (
        "let the job see the node's adapters (/sys/class/infiniband); if you want Ethernet, set NCCL_SOCKET_IFNAME or "
        "NCCL_IB_DISABLE=1 in the site file and here."
    )
    return _need("fabric", f"{found}, for {nodes} nodes", bool(machine.infiniband) or ethernet, fix)


def _cpu_need(machine: Machine) -> Finding:
    fix = "hide the GPUs (CUDA_VISIBLE_DEVICES=) or set launch.device: gpu; the CPU backend never replaces a GPU."
    return _need("GPUs", f"{len(machine.gpus)}, none wanted by launch.device: cpu", not machine.gpus, fix)


def _file_needs(campaign: Campaign, machine: Machine) -> list[Finding]:
    tokenizer = _tokenizer_needs(campaign.plan, machine)
    return [_data(campaign), *tokenizer, _library(machine, "tensorboard"), _storage(machine, _bytes_to_come(campaign))]


def _data(campaign: Campaign) -> Finding:
    """Check the data that the paths have still to read."""
    for path in campaign.paths:
        state = standing_of(campaign, path)
        try:
            if not state.done:
                require_data(campaign.tree, path, state.saved or 0)
        except PlanError as error:
            return Finding("data", error.what.rstrip("."), False, error.fix)
    return Finding("data", "all there", True)


def _bytes_to_come(campaign: Campaign) -> int:
    """Return the bytes of future checkpoints; 0 if the plan does not give the model's size."""
    size = model_size(campaign.plan, vocabulary_of(campaign.plan))
    if size is None:
        return 0
    count = 0  # fork points and ends that are not saved yet
    for path in campaign.paths:
        saved = Checkpoints.in_folder(campaign.folder.path(path.name).checkpoints).complete
        count += len({path.end, *campaign.tree.needed_saves(path.name)} - set(saved))
    return count * size.checkpoint_bytes


def _tokenizer_needs(plan: Plan, machine: Machine) -> list[Finding]:
    library = _TOKENIZER_LIBRARIES.get(plan.tokenizer.megatron_type) if plan.tokenizer else None
    if plan.tokenizer is None or library is None:
        return []
    findings = [_library(machine, library)]
    if model := plan.tokenizer.model:
        words = str(model) if model.exists() else f"{model} is not there"
        fix = "correct tokenizer.model, or let lrps prepare make the tokenizer."
        findings.append(_need("tokenizer", words, model.exists(), fix))
    return findings


def needs_of_submit(campaign: Campaign, machine: Machine) -> list[Finding]:
    """Check what the machine needs to submit jobs; `lrps doctor` on a node checks what the jobs need there."""
    lacking = [name for name in SLURM if machine.commands[name] is None]
    found = f"no {', '.join(lacking)}" if lacking else ", ".join(SLURM)
    slurm = _need("Slurm", found, not lacking, "run this on a login node of the cluster.")
    files = [finding for finding in _file_needs(campaign, machine) if finding.name in ("data", "storage")]
    return [slurm, *files]
