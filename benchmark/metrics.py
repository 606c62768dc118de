"""The folder of a user's own metrics and costs: a file there is ``benchmark.metrics.NAME``."""

import os

__path__ = [os.path.join(own, "metrics")] if (own := os.environ.get("BENCHMARK_PLUGINS")) else []
