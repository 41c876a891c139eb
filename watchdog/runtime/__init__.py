"""Effects in time: when to look, following an abort to its end, starting and stopping. Knows ports, not adapters."""
