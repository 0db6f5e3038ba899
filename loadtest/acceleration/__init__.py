"""`tokenfleet accelerate compare`: one model as it is, compressed, speculating, compiled: how fast,
and how right. Each variant is a Tokenfleet of its own, started in turn and asked over HTTP."""
