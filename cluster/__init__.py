"""Policy: what the cluster is (the spec) and what it should do next (routing, failover, scaling).

Nothing under this package may import Ray, vLLM, torch, asyncio or sockets, nor read the clock, the
environment or global randomness: the live cluster and the simulator run the same objects.
"""
