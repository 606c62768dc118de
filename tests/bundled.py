"""The methods that come with the benchmark; a contributor's own may stand beside them."""

METHODS = (
    "cross-entropy", "label-smoothing", "focal", "focal-adaptive", "mixup", "mbls", "dca",
    "mc-dropout", "deep-ensemble", "temperature-scaling", "mhsl-2", "mhsl-4",
    *(f"mhml-{heads}" for heads in range(2, 11)),
)  # fmt: skip
ALL = ",".join(METHODS)
WITH_TEMPERATURE = ",".join(f"{name}+temperature" for name in METHODS)
