"""What a load test asks: one module per kind of workload, and `build_sessions`.

    text           single requests of random words
    conversation   chats whose history grows
    documents      questions about long documents that come again
    trace          a recorded load: Mooncake, Azure
    tasks          questions with one right answer

All is drawn from a seed and built before the start, so the load is the same in every run.
"""

from loadtest.workloads.build import build_sessions

__all__ = ["build_sessions"]
