import pytest

from jobs.environment import clean_environment, enter_worker, for_workers, thread_limits

OWN = {"HOME": "/home/me", "SLURM_CONF": "/etc/slurm.conf", "MY_SLURM_ID": "1", "PMID": "2"}
INHERITED = {
    "SLURM_JOB_ID": "1",
    "SLURM_CONF_SERVER": "c",
    "SLURMD_NODENAME": "n1",
    "SBATCH_PARTITION": "long",
    "PMI_RANK": "0",
    "PMI2_RANK": "0",
    "PMIX_RANK": "0",
}


def test_an_allocations_variables_go_and_the_rest_stays():
    environ = {**OWN, **INHERITED}
    assert clean_environment(environ) == OWN
    assert environ == {**OWN, **INHERITED}


def test_a_worker_is_held_to_its_cores():
    environ = {**OWN, **INHERITED, "OMP_NUM_THREADS": "64"}
    enter_worker(environ, cpus=3)
    assert environ == {**OWN, **thread_limits(3)}
    assert environ["OMP_NUM_THREADS"] == "3"


def test_daemons_of_workers_inherit_no_limits_and_the_caller_keeps_its_own():
    environ = before = {**OWN, **INHERITED, "OMP_NUM_THREADS": "64"}
    before = dict(environ)
    with pytest.raises(RuntimeError), for_workers(environ):
        assert environ == OWN
        raise RuntimeError
    assert environ == before
