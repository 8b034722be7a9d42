"""The offload in the daemon: what the engine wants of the board, and what the board tells it."""
