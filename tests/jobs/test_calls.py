import pytest

from jobs.calls import check_calls, resolve
from jobs.executor import Call


def test_a_target_is_imported():
    assert resolve("json:dumps")([1]) == "[1]"


def test_a_missing_function_names_the_nearest():
    with pytest.raises(LookupError, match=r"Module `json` has no `dmps`. Did you mean `dumps`\?"):
        resolve("json:dmps")


def test_a_missing_module_is_an_import_error():
    with pytest.raises(ImportError):
        resolve("no_such_module:function")


@pytest.mark.parametrize("target", ["", "json", "json:", ":dumps"])
def test_malformed_targets_are_refused(target):
    with pytest.raises(ValueError, match="'module:function', but the target of 'x' is"):
        check_calls([Call("x", target, {})])


def test_all_mistakes_are_listed():
    calls = [Call("a", "m:f", {}), Call("a", "m:f", {}), Call("b", "m:f", {}), Call("b", "m", {})]
    with pytest.raises(ValueError, match="2 calls are named 'a'; 2 calls are named 'b'; the targ"):
        check_calls(calls)
