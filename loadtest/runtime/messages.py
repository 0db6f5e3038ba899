"""The messages of master and workers, by Locust's `register_message`.

    master -> worker   PREPARE  {run, rank, workers, host, options}: build your share, warm up
    worker -> master   READY    {run, rank, sessions, error}: or why not
    master -> worker   GO       {run, at_s}: begin at this time of day, in seconds of the epoch
    worker -> master   REPORT   {run, rank, lines, tally}: once a second
    worker -> master   DONE     {run, rank, cpu_s, waited_s}: the last of the run

`run` counts the runs of one master: what belongs to an older one is dropped. Messages of a sender
arrive in the order sent. The start is a time of day because a worker may be on another machine; on
the same one, all begin within microseconds.
"""

PREPARE = "loadtest-prepare"
READY = "loadtest-ready"
GO = "loadtest-go"
REPORT = "loadtest-report"
DONE = "loadtest-done"
