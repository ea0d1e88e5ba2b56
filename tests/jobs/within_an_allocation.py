"""What test_ray_allocation.py runs in jobs of two nodes with two cores each."""

import os
import stat
import sys
from collections import Counter
from pathlib import Path

import pytest

from jobs.executor import Call, Resources
from jobs.options import RayOptions
from jobs.ray.executor import RayExecutor
from jobs.testing import ExecutorContract, call, echo, wait_for

LOOK = """
import os
import ray
from jobs.testing import meet

def look(payload, worker):
    meet(payload, worker)
    return ray.util.get_node_ip_address(), dict(os.environ)
"""


@pytest.fixture(scope="module", autouse=True)
def spread(tmp_path_factory):
    """Ray on both nodes; the executors of the contract find this process connected."""
    folder = tmp_path_factory.mktemp("spread")
    (folder / "elsewhere.py").write_text(LOOK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        with RayExecutor(folder, RayOptions(nodes=2)) as executor:
            executor.run([call("never begun", echo)])  # connects
            yield executor


def test_all_cores_of_both_nodes_work_at_once(spread, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    payload = {"place": str(place), "number": 4}
    outcomes = list(spread.run([Call(f"{i}", "elsewhere:look", payload) for i in range(4)]))
    assert [outcome.error for outcome in outcomes] == [""] * 4
    nodes, environs = zip(*(outcome.value for outcome in outcomes), strict=True)
    assert sorted(Counter(nodes).values()) == [2, 2]
    for environ in environs:
        assert [name for name in environ if name.startswith("SLURM")] == ["SLURM_CONF"]
        assert environ["OMP_NUM_THREADS"] == "1"


def test_neither_token_nor_folder_is_for_others():
    token = os.environ["RAY_AUTH_TOKEN"]
    told = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
    assert not any(token.encode() in command for command in told)
    folders = list(Path(os.environ["TMPDIR"]).glob("ray-*"))
    assert len(folders) >= 2
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


class TestContract(ExecutorContract):
    concurrent = 4

    @pytest.fixture
    def executor(self, tmp_path):
        with RayExecutor(tmp_path / "ray") as executor:
            yield executor

    def test_as_many_at_once_as_resources_allow(self):
        pytest.skip("one call of all cores would have to span both nodes")

    def test_closing_the_iterator_cancels(self):
        pytest.skip("likewise")


def endless(folder):
    """Report in the folder that calls run on all cores, and wait for what never comes."""
    with RayExecutor(folder / "ray", RayOptions(nodes=2)) as executor:
        files = [{"started": str(folder / f"up{i}"), "go": str(folder / "never")} for i in range(2)]
        calls = [call(f"{i}", wait_for, files[i], Resources(cpus=2)) for i in range(2)]
        list(executor.run(calls))


def complain(folder, nodes, join_timeout_s):
    """Write down what the executor complains about."""
    executor = RayExecutor(folder / "ray", RayOptions(nodes=nodes, join_timeout_s=join_timeout_s))
    try:
        executor.run([call("never", echo)])
    except (ValueError, ConnectionError) as error:
        kept = "RAY_AUTH_TOKEN" in os.environ
        (folder / "error").write_text(f"{type(error).__name__} {kept}: {error}")


if __name__ == "__main__":
    what, folder, *numbers = sys.argv[1:]
    globals()[what](Path(folder), *map(int, numbers))
