import pytest

from jobs.options import SlurmOptions
from jobs.slurm.executor import SlurmExecutor
from jobs.testing import ExecutorContract


class TestSlurm(ExecutorContract):
    concurrent = 2

    @pytest.fixture
    def executor(self, cluster, tmp_path):
        with SlurmExecutor(tmp_path, SlurmOptions(nodelist="node1")) as executor:
            yield executor
