"""How a planned load is sent through Locust and measured.

    load          what is to be sent, as the rest of this package sees it
    bodies        a session's turns as request bodies
    connections   a pool of connections that say when a request was written to them
    reading       a reply's bytes to its record, off the event loop
    live          counters and coarse histograms for who watches the run
    share         one worker's part of the load: open loop, closed loop, its requests in flight
    staged_shape  the stages of a closed loop as Locust's LoadTestShape
    worker        what a worker does: build, warm up, start together with the others, report
    conductor     what the master does: have it built, start it, wait for its end, write the folder
    disturber     faults done to the server meanwhile, by a process of their own
    run_writer    the run's folder, written while the run goes on
    progress      the headless run's line every few seconds
    web_tab       the tab in Locust's web UI
    options       the command-line options, of Locust and of `tokenfleet loadtest run`
    installed     all of it hung into Locust's events: what a locustfile calls
    launch        Locust in a process of its own

A Locust process alone is both master and worker. Messages of master and workers have names that
begin with `loadtest-`; see `messages`.
"""
