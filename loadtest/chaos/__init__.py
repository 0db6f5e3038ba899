"""`tokenfleet chaos`: steady load on a cluster whose processes are killed, stopped and replaced.

    kinds     request bodies whose answers must repeat exactly
    truth     every kind's answer, taken twice while nothing is disturbed
    traffic   many requests at once, each answer held against the truth
    plan      which fault comes next, and when: pure and seeded
    faults    how a fault is done
    beside    faults beside a load that another process sends: a load test's
    order     what that process is asked for, and what it answers
    watch     what the cluster says of itself, and its processes, once a second
    site      the cluster under test: one started here, or one that runs already
    report    the table and the verdict, a pure function of the recorded rows
    run       all of it, in order

Nothing here imports Tokenfleet: it is the subject, started and asked as a user would.
"""
