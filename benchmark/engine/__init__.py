"""One fit: the network, its batches, the one training loop, prediction, what it costs."""
