"""The benchmark tells a real cluster's processes apart by the titles that vLLM and Ray set."""

from loadtest.procstat import Role, read_meters, server_processes
from tests.integration.fleet import Fleet

CLUSTER_ROLES = {
    Role.ENGINE_CORE,
    Role.ENGINE_HOST,
    Role.GATEWAY,
    Role.SWITCH,
    Role.HAPROXY,
    Role.RAY,
}


def test_every_role_of_a_cluster_is_found_and_has_spent_time(two_engines: Fleet) -> None:
    meters = read_meters(server_processes(two_engines.port))
    spent_s = {role: sum(s for m, s in meters.items() if m.role is role) for role in CLUSTER_ROLES}
    assert all(seconds > 0 for seconds in spent_s.values()), spent_s
    hosts = [meter for meter in meters if meter.role is Role.ENGINE_HOST]
    assert len(hosts) == sum(model.replicas for model in two_engines.spec.models)


def test_engine_cores_run_in_the_processes_that_began_with_their_hosts(two_engines: Fleet) -> None:
    log = (two_engines.folder / "serve.log").read_text()
    assert "engine of demo started in" in log
    assert "started anew" not in log
