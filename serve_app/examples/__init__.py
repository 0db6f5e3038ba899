"""The example specs that come with the package, and how `spec=` finds them."""

from pathlib import Path

from cluster.spec import SpecError

DEFAULT = "spec-local-one.yaml"


def names() -> list[str]:
    return sorted(p.name for p in Path(__file__).parent.glob("*.yaml"))


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
