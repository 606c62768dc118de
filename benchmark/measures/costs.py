"""Every cost: what is said of it, how an ensemble's members combine, what makes it doubtful."""

from __future__ import annotations

from benchmark.api import Cost

DISTURBED, SHORT, ELSEWHERE = "disturbed", "too short", "elsewhere"
"""Why a cost cannot be compared: other programs used the processor, training was over too soon to
be timed, or the reference was measured on other hardware or with another number of fits at once."""

SHORTEST = 0.5
"""Seconds of training that can be timed: fits of the same work differ by 20 to 30 ms (measured),
which is 5 % of it."""

COSTS = (
    Cost(
        name="train_seconds",
        short="Training",
        title="Training time",
        meaning="Training of all networks that one replicate of the method needs, without warm-up, "
        "compilation and decoding.",
        unit="s",
        members="sum",
        timed="training",
        ratio=True,
        main=1,
    ),
    Cost(
        name="predict_images_per_second",
        short="Inference",
        title="Inference speed",
        meaning="Images predicted each second, in large batches.",
        unit="images/s",
        direction="higher",
        members="in turn",
        timed="prediction",
        ratio=True,
        main=2,
    ),
    Cost(
        name="train_images_per_second",
        short="Training speed",
        meaning="Images trained on each second.",
        unit="images/s",
        direction="higher",
        members="mean",
        timed="training",
    ),
    Cost(
        name="warm_up_seconds",
        short="Warm-up",
        title="Warm-up and compilation",
        meaning="What comes before the first step of training, for all networks.",
        unit="s",
        members="sum",
        timed="training",
    ),
    Cost(
        name="decode_seconds",
        short="Decoding",
        meaning="Decoding and resizing the images once, or finding them in the cache.",
        unit="s",
        members="largest",
    ),
    Cost(
        name="calibrate_seconds",
        short="Post-hoc fit",
        title="Post-hoc fitting time",
        meaning="Fitting the calibrator on the calibration part.",
        unit="s",
        members="sum",
    ),
    Cost(
        name="latency_ms",
        short="Latency",
        title="Latency of one image, median",
        meaning="Time to predict a single image.",
        unit="ms",
        members="sum",
        timed="prediction",
        ratio=True,
    ),
    Cost(
        name="latency_95_ms",
        short="Latency, 95 %",
        title="Latency of one image, 95 % point",
        meaning="Time within which 95 % of single images are predicted.",
        unit="ms",
        members="sum",
        timed="prediction",
    ),
    Cost(
        name="predict_flops_per_image",
        short="FLOPs per image",
        title="Operations to predict one image",
        meaning="Floating-point operations.",
        members="sum",
        ratio=True,
    ),
    Cost(
        name="train_flops_per_image",
        short="Training FLOPs",
        title="Operations to train on one image",
        meaning="Floating-point operations, forward and backward.",
        members="sum",
        ratio=True,
    ),
    Cost(
        name="parameters",
        short="Parameters",
        meaning="Trained numbers of all networks of the method.",
        direction=None,
        members="sum",
    ),
    Cost(
        name="host_memory_mib",
        short="Host memory",
        title="Peak memory of the host",
        meaning="The most main memory that training held.",
        unit="MiB",
        members="largest",
        ratio=True,
    ),
    Cost(
        name="device_memory_mib",
        short="Device memory",
        title="Peak memory of the device",
        meaning="The most device memory that training held, besides the images.",
        unit="MiB",
        members="largest",
        ratio=True,
    ),
    Cost(
        name="predict_host_memory_mib",
        short="Inference host memory",
        title="Peak memory of the host in inference",
        meaning="The most main memory that predicting held.",
        unit="MiB",
        members="largest",
    ),
    Cost(
        name="predict_device_memory_mib",
        short="Inference device memory",
        title="Peak memory of the device in inference",
        meaning="The most device memory that predicting held, besides the images.",
        unit="MiB",
        members="largest",
    ),
    Cost(
        name="train_energy_joules",
        short="Energy",
        title="Training energy",
        meaning="As the device counts it; absent where it does not.",
        unit="J",
        members="sum",
        timed="training",
        ratio=True,
    ),
    Cost(
        name="fits",
        short="Fits",
        title="Trained networks",
        meaning="Networks that one replicate of the method needs.",
        members="sum",
    ),
)
