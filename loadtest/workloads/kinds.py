"""The kinds of workload a scenario may have."""

from typing import Annotated

from pydantic import Field

from loadtest.workloads.conversation import Conversation
from loadtest.workloads.documents import Documents
from loadtest.workloads.tasks import Tasks
from loadtest.workloads.text import Text
from loadtest.workloads.trace import Trace

Workload = Annotated[Text | Conversation | Documents | Trace | Tasks, Field(discriminator="kind")]
"""For a field of a pydantic model: `{kind: text, prompt_tokens: 200, output_tokens: 64}`. Each has
`sessions(count, seed, kit)`: its first `count` sessions, indexed from 0, which start at no set
instant; more sessions begin with the same ones."""
