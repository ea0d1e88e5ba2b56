"""What the engine does to a convolution leaves its output as it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from registry.vared.engine.columns import widened
from registry.vared.engine.filters import Cut, Filters
from registry.vared.engine.maxima import maxima
from registry.vared.engine.packed import Ending, rectify
from registry.vared.engine.shift import shifted, shifts_groups
from registry.vared.engine.values import Copies, Value

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
        y = filters(x_THWC, Cut(5), Ending(relu, add), step=step, repeats=repeats)
        torch.testing.assert_close(y, expected.relu() if relu else expected, rtol=1e-5, atol=1e-5)
    # taps of one group are one
    assert filters.macs <= y.numel() * 3 * 9 * size
    if size == 3 and padding == 1 and stride == step == 1 and repeats == 2:
        assert filters.macs * 3 == 2 * y.numel() * 3 * 9 * size


def test_a_sum_reaches_an_output_that_is_alone() -> None:
    conv = nn.Conv3d(3, 5, (2, 3, 3), (3, 1, 1), (0, 1, 1))
    x_THWC, add = torch.randn(2, 4, 4, 3), torch.randn(1, 4, 4, 5)
    with torch.inference_mode():
        whole = conv(images(x_THWC.repeat_interleave(2, 0)))[0].permute(1, 2, 3, 0)
        y = Filters(conv, None, torch.float32)(x_THWC, Cut(5), Ending(add=add), repeats=2)
    torch.testing.assert_close(y, whole + add, rtol=1e-5, atol=1e-5)


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
        y = filters(x_THWC, Cut(kept))
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    # the zeros that vectors are filled with are nobody's multiply-adds
    assert filters.macs == expected.numel() * 3 * 25


@pytest.mark.parametrize("factor", [None, torch.tensor([1.0, 1.0, 1.0, -2.0, 0.5, 3.0, 0.1])])
def test_copies_that_filters_write_down_are_those_written_down_later(
    factor: Tensor | None,
) -> None:
    torch.manual_seed(0)
    filters = Filters(nn.Conv2d(4, 7, 3, padding=1), None, torch.float32)
    copies = Copies((0, 1), 3, torch.arange(7) % 3, factor)
    x_THWC, add = torch.randn(2, 5, 6, 4), torch.randn(2, 5, 6, 7)
    with torch.inference_mode():
        lazy = Value(filters(x_THWC, Cut(3)), 2, copies=copies)
        expected = (lazy.all_channels().data + add).relu()
        y = filters(x_THWC, Cut(3, written=copies), Ending(relu=True, add=add))
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    # they are computed, and counted
    assert filters.macs == (3 + 7) * 2 * 5 * 6 * 4 * 9


@settings(deadline=None)
@given(data=st.data())
def test_maxima_are_those_of_pytorch(data: st.DataObject) -> None:
    pairs = st.tuples
    kernel = data.draw(pairs(st.integers(1, 4), st.integers(1, 4)))
    stride = data.draw(pairs(st.integers(1, 3), st.integers(1, 3)))
    dilation = data.draw(pairs(st.integers(1, 2), st.integers(1, 2)))
    padding = tuple(data.draw(st.integers(0, size // 2)) for size in kernel)
    height, width = (
        data.draw(st.integers(d * (k - 1) + 1, 9)) for d, k in zip(dilation, kernel, strict=True)
    )
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    x = torch.randn(2, height, width, 3, dtype=dtype)
    y = maxima(x, kernel, stride, padding, dilation)
    expected = F.max_pool2d(x.permute(0, 3, 1, 2), kernel, stride, padding, dilation)
    assert torch.equal(y, expected.permute(0, 2, 3, 1))
    assert y.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_rectified_is_never_negative(dtype: torch.dtype) -> None:
    x = torch.tensor([-torch.inf, -1.5, -1e-38, -0.0, 0.0, 1e-38, 2.5, torch.inf], dtype=dtype)
    expected = x.relu()
    assert rectify(x) is x
    assert torch.equal(x, expected)


def test_a_wide_filter_holds_the_filter_once_a_column() -> None:
    weight = torch.randn(2, 3, 5, 7)
    wide = widened(weight, 2, 2)
    assert wide.shape == (4, 3, 5, 9)
    assert torch.equal(wide[:2, ..., :7], weight)
    assert torch.equal(wide[2:, ..., 2:], weight)
    assert wide.count_nonzero() == 2 * weight.count_nonzero()
