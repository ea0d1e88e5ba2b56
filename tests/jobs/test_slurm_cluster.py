"""The cluster that the SLURM tests run on does what they take for granted."""

import pytest


def sbatch(slurm, folder, command, *options):
    output = f"--output={folder}/%A_%a.txt"
    return slurm.run("sbatch", "--parsable", output, *options, f"--wrap={command}")


def test_an_array_runs_and_accounting_knows(slurm, tmp_path):
    job = sbatch(slurm, tmp_path, "echo $CUDA_VISIBLE_DEVICES", "--array=0-2", "--gpus-per-node=2")
    slurm.idle()
    elements = [f"{job}_{index}" for index in range(3)]
    slurm.until(lambda: slurm.accounts_of(job) == dict.fromkeys(elements, "COMPLETED"))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"0,1\n"}


def test_jobs_go_when_cancelled_though_they_ignore_it(slurm, tmp_path):
    sbatch(slurm, tmp_path, "trap '' TERM; sleep 600; sleep 600", "--array=0-9")
    slurm.until(lambda: [*slurm.jobs().values()].count("RUNNING") == 8)
    slurm.cancel_all()
    assert slurm.jobs() == {}


def test_a_killed_node_is_lost_with_its_job_which_runs_again_elsewhere(slurm, tmp_path):
    here = f"echo $SLURMD_NODENAME >> {tmp_path}/nodes; sleep 600"
    job = sbatch(slurm, tmp_path, here, "--cpus-per-task=2")
    nodes = tmp_path / "nodes"
    slurm.until(nodes.exists)
    first = nodes.read_text().strip()
    slurm.kill_node(first)
    slurm.until(lambda: slurm.node_states()[first] == "down*")
    slurm.until(lambda: len(nodes.read_text().split()) == 2)
    assert nodes.read_text().split()[1] != first
    slurm.start_node(first)
    slurm.until(lambda: slurm.node_states()[first] == "idle")
    assert slurm.jobs() == {job: "RUNNING"}


def test_the_largest_array_is_changed_for_a_while(slurm, tmp_path):
    before = slurm.config("MaxArraySize")
    with slurm.max_array_size(5):
        with pytest.raises(AssertionError, match="Invalid job array specification"):
            sbatch(slurm, tmp_path, "true", "--array=0-5")
        sbatch(slurm, tmp_path, "true", "--array=0-4")
    assert slurm.config("MaxArraySize") == before
