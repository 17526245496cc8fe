"""The Megatron flags and environment variables of a CPU run. Imports nothing."""

CPU_FLAGS: dict[str, str | bool] = {
    # Transformer Engine and the fused kernels exist only for CUDA.
    "transformer-impl": "local",
    "attention-backend": "unfused",
    "no-gradient-accumulation-fusion": True,
    "no-masked-softmax-fusion": True,
    "no-persist-layer-norm": True,
    "no-rope-fusion": True,
    "no-bias-gelu-fusion": True,
    "no-bias-swiglu-fusion": True,
    "no-bias-dropout-fusion": True,
    # The other way draws in place from the device's RNG stream, which in-place draws cannot be told to
    # use here: all tensor-parallel shards would start alike.
    "use-cpu-initialization": True,
    "distributed-backend": "gloo",
    # A loader process costs more than it saves if training has few cores.
    "num-workers": "0",
}
"""Megatron flag without its dashes -> its value; ``True`` for a switch."""

CPU_ENV: dict[str, str] = {
    # Compiling would cost minutes and need a C++ compiler.
    "TORCH_COMPILE_DISABLE": "1",
    # Ranks share the cores; threads beyond them only wait for one another.
    "OMP_NUM_THREADS": "1",
    # Megatron asks for it under tensor parallelism on the GPU generation that the CPU backend stands for.
    "CUDA_DEVICE_MAX_CONNECTIONS": "1",
}
"""Environment variable -> value, to be set before Python starts."""
