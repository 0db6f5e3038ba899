"""`cluster/` decides and nothing else: it can be imported, and simulated, without a cluster."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cluster

FOLDER = Path(cluster.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))
FOREIGN = {"pydantic", "pydantic_core", "numpy", "xxhash", "yaml", "cluster"}
# Of the standard library: clocks, chance, the environment, and everything that talks or waits.
IMPURE = {
    *("asyncio", "concurrent", "multiprocessing", "os", "random", "secrets", "select", "selectors"),
    *("signal", "socket", "ssl", "subprocess", "threading", "time", "uuid"),
}
NEVER_LOADED = {"ray", "vllm", "torch", "transformers", "asyncio", "locust", "gevent", "zmq"}

LIST_LOADED = """
import importlib, json, pkgutil, sys
import cluster
for module in pkgutil.walk_packages(cluster.__path__, "cluster."):
    importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def test_importing_it_loads_no_engine_and_no_event_loop() -> None:
    result = subprocess.run(
        [sys.executable, "-c", LIST_LOADED], check=True, capture_output=True, cwd=FOLDER.parent
    )
    loaded = set(json.loads(result.stdout))
    assert {"cluster.spec", "pydantic"} <= loaded
    assert loaded & NEVER_LOADED == set()


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of what a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_it_imports_only_pure_things(module: Path) -> None:
    names = set(imported(ast.parse(module.read_text(encoding="utf-8"))))
    assert names & IMPURE == set()
    assert names - set(sys.stdlib_module_names) - FOREIGN == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_it_reads_no_clock_and_no_global_randomness(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    read = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert (
        read & {"datetime.now", "datetime.utcnow", "date.today", "numpy.random", "np.random"}
        == set()
    )
