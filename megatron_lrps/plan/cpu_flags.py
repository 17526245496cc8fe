"""What a CPU run needs on Megatron's command line and in its environment. Imports nothing."""

CPU_FLAGS: dict[str, str | bool] = {
    # Transformer Engine and the fused kernels exist for CUDA alone.
    "transformer-impl": "local",
    "attention-backend": "unfused",
    "no-gradient-accumulation-fusion": True,
    "no-masked-softmax-fusion": True,
    "no-persist-layer-norm": True,
    "no-rope-fusion": True,
    "no-bias-gelu-fusion": True,
    "no-bias-swiglu-fusion": True,
    "no-bias-dropout-fusion": True,
    # GPU initialization draws each tensor-parallel shard from the device's RNG stream; the in-place
    # draws it uses cannot be told from host ones on a CPU, and every shard would be the same.
    "use-cpu-initialization": True,
    "distributed-backend": "gloo",
    # A worker process for loading costs more than it saves where training itself has few cores.
    "num-workers": "0",
}
"""Megatron flag without its dashes -> its value, ``True`` for a switch."""

CPU_ENV: dict[str, str] = {
    # Megatron compiles small functions at import; on a CPU that costs minutes and a C++ compiler.
    "TORCH_COMPILE_DISABLE": "1",
    # Ranks share the cores; with more threads than cores each of them waits for the others.
    "OMP_NUM_THREADS": "1",
    # Megatron refuses tensor parallelism without it on some GPU generations.
    "CUDA_DEVICE_MAX_CONNECTIONS": "1",
}
"""Environment variable -> value, to be set before Python starts."""
