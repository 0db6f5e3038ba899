"""The examples that come with the package: specs, how `spec=` finds them, and workloads for
`tokenfleet simulate`."""

from pathlib import Path

from cluster.spec import SpecError

DEFAULT = "spec-local-one.yaml"


def names() -> list[str]:
    """Of the specs."""
    return sorted(p.name for p in Path(__file__).parent.glob("spec-*.yaml"))


def find(spec: str) -> Path:
    """The file that `spec` means: an existing path first, else the example of that file name.

    Raises SpecError naming the examples.
    """
    path = Path(spec).expanduser()
    if path.is_file():
        return path
    if spec in names():
        return Path(__file__).with_name(spec)
    raise SpecError([("", f"no file {spec!r}, and no example; examples: {', '.join(names())}")])
