import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from jobs.backends import BACKENDS, open_executor, options_type
from jobs.executor import Executor


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_opens_with_its_defaults(name, tmp_path):
    with open_executor(name, {}, tmp_path) as executor:
        assert isinstance(executor, Executor)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_describes_itself(name):
    assert BACKENDS[name].summary
    schema = json.dumps(options_type(name).model_json_schema())
    assert json.loads(schema)["additionalProperties"] is False
    for field in options_type(name).model_fields.values():
        assert field.description


def test_an_unknown_name_gets_the_choices_and_the_nearest(tmp_path):
    with pytest.raises(LookupError, match=r"are inline, ray, slurm. Did you mean `ray`\?"):
        open_executor("rey", {}, tmp_path)
    with pytest.raises(LookupError, match="there are inline, ray, slurm.$"):
        options_type("kubernetes")


def test_all_mistakes_in_options_are_listed(tmp_path):
    options = {
        "max_concurent": 2,
        "num_cpus": 0,
        "asha": {"metric": "top1", "mode": "most", "max_t": 3},
    }
    with pytest.raises(ValidationError) as caught:
        open_executor("ray", options, tmp_path)
    places = {error["loc"] for error in caught.value.errors()}
    assert places == {("max_concurent",), ("num_cpus",), ("asha", "mode")}


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (
            {"asha": {"metric": "top1", "mode": "max", "max_t": 3, "grace_period": 4}},
            r"`grace_period` must be <= `max_t` \(3\), but got 4",
        ),
        ({"address": "auto", "num_cpus": 2}, "belong to the cluster"),
    ],
    ids=["grace period", "cluster size"],
)
def test_options_that_contradict_each_other_are_refused(options, rule, tmp_path):
    with pytest.raises(ValidationError, match=rule):
        open_executor("ray", options, tmp_path)


def test_ray_is_not_imported_before_it_is_needed(tmp_path):
    code = (
        "import sys, pathlib, jobs.backends as b;"
        "b.open_executor('ray', {}, pathlib.Path('.')).close();"
        "assert 'ray' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
