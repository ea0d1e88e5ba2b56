"""What the engine does to a convolution leaves its output as it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from registry.vared.engine.columns import widened
from registry.vared.engine.filters import Filters
from registry.vared.engine.shift import shifted, shifts_groups
from registry.vared.engine.values import Value

REPEATS = st.sampled_from([1, 2, 4])
STEPS = st.sampled_from([1, 2, 4])


def images(x_THWC: Tensor) -> Tensor:
    """(1, C, T, H, W)."""
    return x_THWC.permute(3, 0, 1, 2)[None]


@settings(deadline=None)
@given(data=st.data())
def test_taps_on_groups_of_frames_are_those_on_the_frames(data: st.DataObject) -> None:
    size, repeats, step = data.draw(st.integers(2, 5)), data.draw(REPEATS), data.draw(STEPS)
    padding, stride = data.draw(st.integers(0, size // 2)), data.draw(st.integers(1, 3))
    rows = data.draw(st.integers(size, 6))
    adds, relu = data.draw(st.booleans()), data.draw(st.booleans())
    torch.manual_seed(data.draw(st.integers(0, 99)))
    conv = nn.Conv3d(3, 5, (size, 3, 3), (stride, 1, 1), (padding, 1, 1))
    x_THWC = torch.randn(rows, 4, 4, 3)
    whole = x_THWC.repeat_interleave(repeats, 0)
    with torch.inference_mode():
        expected = conv(images(whole))[0].permute(1, 2, 3, 0)[::step]
        add = torch.randn_like(expected).contiguous() if adds else None
        if add is not None:
            expected = expected + add
        filters = Filters(conv, None, torch.float32)
        assert filters.reads_repeats(len(whole), repeats)
        y = filters(x_THWC, 5, step=step, repeats=repeats, relu=relu, add=add)
        torch.testing.assert_close(y, expected.relu() if relu else expected, rtol=1e-5, atol=1e-5)
    # taps of one group are one
    assert filters.macs <= y.numel() * 3 * 9 * size
    if size == 3 and padding == 1 and stride == step == 1 and repeats == 2:
        assert filters.macs * 3 == 2 * y.numel() * 3 * 9 * size


@settings(deadline=None)
@given(data=st.data())
def test_a_shift_of_groups_is_that_of_the_frames(data: st.DataObject) -> None:
    num_frames, repeats, step = data.draw(st.integers(1, 9)), data.draw(REPEATS), data.draw(STEPS)
    div = data.draw(st.sampled_from([3, 4, 8]))
    rows = torch.randn(-(-num_frames // repeats), 2, 3, 8)
    value = Value(rows, num_frames, repeats)
    assert shifts_groups(value, step)
    whole, fold = value.whole().data, 8 // div
    expected = whole.clone()
    expected[..., : 2 * fold] = 0
    expected[:-1, ..., :fold] = whole[1:, ..., :fold]
    expected[1:, ..., fold : 2 * fold] = whole[:-1, ..., fold : 2 * fold]
    assert torch.equal(shifted(value, step, div), expected[::step])


@pytest.mark.parametrize("kept", [1, 3, 4, 8, 16])
@pytest.mark.parametrize("width", [8, 9, 12, 14])
@pytest.mark.parametrize("stride", [1, 2])
def test_columns_taken_together_are_those_one_by_one(kept: int, width: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(3, 16, (1, 5, 5), (1, stride, stride), (0, 2, 2))
    x_THWC = torch.randn(2, 6, width, 3)
    with torch.inference_mode():
        expected = conv(images(x_THWC))[0, :kept].permute(1, 2, 3, 0)
        filters = Filters(conv, None, torch.float32)
        y = filters(x_THWC, kept)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    # the zeros that vectors are filled with are nobody's multiply-adds
    assert filters.macs == expected.numel() * 3 * 25


def test_a_wide_filter_holds_the_filter_once_a_column() -> None:
    weight = torch.randn(2, 3, 5, 7)
    wide = widened(weight, 2, 2)
    assert wide.shape == (4, 3, 5, 9)
    assert torch.equal(wide[:2, ..., :7], weight)
    assert torch.equal(wide[2:, ..., 2:], weight)
    assert wide.count_nonzero() == 2 * weight.count_nonzero()
