"""A discrete-event simulator of the fleet, which runs the live cluster's own routers.

    workload    what arrives: requests, and the names of their KV blocks
    traces      a recorded trace as a workload; `generator` makes one up
    step_time   what an engine's step takes, fitted; `roofline`: worked out from GPU and model
    job, prefix_cache, scheduler    a request in an engine, the engine's cache, its next step
    engine      all of these in time; `segment`: many equal steps at once
    gateway     the adapter between the simulated fleet and the live `FleetView` and `Router`
    fleet       the event loop over `events`; `fleet_plan` says what there is
    results     what came of it, from `records`; `saturation`: the rate the fleet can bear
    autoscaling, replicas    the adapter to the live scalers, and engines that come and go
    scaling_result    SLO and engine seconds; `fixed_at_peak`: the fixed size to compare with

Nothing here reads a file, a clock or global randomness: a seed gives the same run every time.
"""
