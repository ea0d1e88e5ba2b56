import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs import ports
from jobs.options import RayOptions
from jobs.ray.executor import RayExecutor
from jobs.ray.job import batch_script
from jobs.slurm import allocation
from jobs.testing import call, echo

INSIDE = Path(__file__).with_name("within_an_allocation.py")
SPOILED = """
import os, sys, time
if "ray.scripts.scripts" in sys.orig_argv and os.environ["SPOIL"] in sys.orig_argv:
    print("no luck here", flush=True)
    time.sleep(float(os.environ["SPOIL_S"]))
    os._exit(3)
"""


@pytest.fixture
def place(monkeypatch):
    """The temporary folder of jobs, short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def submit(slurm, folder, *command):
    script = folder / "script"
    script.write_text(batch_script(2, [sys.executable, *map(str, command)], {"job-name": "a b"}))
    return slurm.run("sbatch", "--parsable", f"--output={folder}/said", script)


def state_of(slurm, job):
    slurm.until(lambda: job not in slurm.jobs(), seconds=400)
    slurm.until(lambda: slurm.accounts_of(job).get(job, "RUNNING") != "RUNNING")
    return slurm.accounts_of(job)[job]


def processes(place):
    """Command lines that tell of the folder, as those of all of Ray's daemons do."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_text(errors="replace").replace("\0", " "))
    return [line for line in found if str(place) in line]


def test_two_jobs_spread_side_by_side_and_leave_nothing(slurm, tmp_path, place):
    cancelled, whole = tmp_path / "cancelled", tmp_path / "whole"
    cancelled.mkdir()
    whole.mkdir()
    bystander = submit(slurm, cancelled, INSIDE, "endless", cancelled)
    options = ("-p", "no:cacheprovider", "--durations=0", f"--basetemp={whole / 'inner'}")
    job = submit(slurm, whole, "-m", "pytest", *options, INSIDE)
    assert state_of(slurm, job) == "COMPLETED", (whole / "said").read_text()
    slurm.until(lambda: all((cancelled / f"up{i}").exists() for i in range(2)))
    assert len(list(place.iterdir())) == 2
    slurm.run("scancel", bystander)
    slurm.until(lambda: not processes(place))
    slurm.until(lambda: list(place.iterdir()) == [])


@pytest.mark.parametrize(
    ("spoiled", "seconds", "told"),
    [
        ("--node-name=node2", 0, "ConnectionError False: Ray ended before it was up on node2"),
        ("--head", 600, "ConnectionError False: Ray was not up after 4 s on node1"),
    ],
    ids=["ends", "hangs"],
)
def test_a_node_that_does_not_come_up_is_named(
    slurm, tmp_path, place, monkeypatch, spoiled, seconds, told
):
    (tmp_path / "sitecustomize.py").write_text(SPOILED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SPOIL", spoiled)
    monkeypatch.setenv("SPOIL_S", str(seconds))
    job = submit(slurm, tmp_path, INSIDE, "complain", tmp_path, 2, 4 if seconds else 90)
    assert state_of(slurm, job) == "COMPLETED", (tmp_path / "said").read_text()
    error = (tmp_path / "error").read_text()
    assert error.startswith(told)
    assert "no luck here" in error
    assert processes(place) == []
    assert list(place.iterdir()) == []


def test_an_allocation_that_is_too_small_is_told(slurm, tmp_path):
    job = submit(slurm, tmp_path, INSIDE, "complain", tmp_path, 3, 4)
    assert state_of(slurm, job) == "COMPLETED", (tmp_path / "said").read_text()
    assert (tmp_path / "error").read_text() == (
        f"ValueError False: `nodes: 3`, but the allocation {job} has 2: node1, node2"
    )


def test_outside_of_an_allocation_the_way_into_one_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(sys, "argv", ["bin/harness", "sweep", "my budgets.yaml"])
    with RayExecutor(tmp_path, RayOptions(nodes=2)) as executor, pytest.raises(ValueError) as told:
        executor.run([call("a", echo)])
    request = "--nodes=2 --ntasks-per-node=1 --exclusive --mem=0"
    assert f"sbatch {request} --wrap='harness sweep '\"'\"'my budgets" in str(told.value)
    assert f"salloc {request} srun --overlap --nodes=1 --ntasks=1 harness sweep" in str(told.value)


@pytest.mark.parametrize("other", [{"address": "auto"}, {"num_cpus": 2}, {"num_gpus": 0}], ids=str)
def test_nodes_and_other_ways_to_a_cluster_exclude_each_other(other):
    with pytest.raises(ValidationError, match="give one of the two|belong to the allocation"):
        RayOptions(nodes=2, **other)


def test_a_script_asks_for_whole_nodes_and_quotes():
    script = batch_script(
        3,
        ["harness", "sweep", "my budgets.yaml"],
        {"partition": "gpu", "gpus-per-node": 4, "requeue": True, "hold": False},
        ["module load cuda"],
    )
    assert script == (
        "#!/bin/bash\n#SBATCH --nodes=3\n#SBATCH --ntasks-per-node=1\n#SBATCH --exclusive\n"
        "#SBATCH --mem=0\n#SBATCH --partition=gpu\n#SBATCH --gpus-per-node=4\n#SBATCH --requeue\n"
        "module load cuda\nexec harness sweep 'my budgets.yaml'\n"
    )
    with pytest.raises(ValueError, match="`comment` must be one line"):
        batch_script(1, ["true"], {"comment": "a\nrm -r b"})


def test_counts_a_node_are_read():
    assert allocation.expand_counts("2(x3),4") == [2, 2, 2, 4]


@pytest.mark.parametrize(
    ("devices", "count"),
    [("", 0), ("gpu:2(IDX:0-1)", 2), ("gpu:a100:4(IDX:0-3),gpu:1(IDX:4),disk:3", 5)],
)
def test_accelerators_are_counted(devices, count):
    assert allocation.count_gpus(devices) == count


def test_jobs_try_other_ports():
    first, second = (ports.free_ports(job, 2) for job in (7, 8))
    assert len({*first, *second}) == 4


@pytest.mark.parametrize(
    ("own", "others", "reachable"),
    [
        ("192.0.2.1", ["192.0.2.2"], "192.0.2.1"),
        ("127.0.0.11", ["127.0.0.12"], "127.0.0.11"),
    ],
)
def test_an_address_that_serves_is_kept(own, others, reachable):
    assert allocation._reachable(own, [own, *others]) == reachable


def test_a_name_that_leads_to_itself_alone_is_replaced():
    with contextlib.suppress(OSError):  # a machine without a route has none to offer
        assert not allocation._reachable("127.0.1.1", ["127.0.1.1", "192.0.2.2"]).startswith("127.")
