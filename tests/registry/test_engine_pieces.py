"""What the engine does to a convolution leaves its output as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numba import njit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from registry.vared import team
from registry.vared.engine import kernels, lanes, sums
from registry.vared.engine.blends import blend_
from registry.vared.engine.columns import Columns, Row, widened
from registry.vared.engine.filters import Cut, Filters
from registry.vared.engine.gate_pass import GateNumbers, GatePass
from registry.vared.engine.maxima import maxima
from registry.vared.engine.numbers import array_of
from registry.vared.engine.packed import Blend, Ending, rectify
from registry.vared.engine.planes import LINES, MOST_COLOURS, PAIR, Planes, moves_over_planes
from registry.vared.engine.rows import ready_by_rows, shifts_by_rows
from registry.vared.engine.shift import shifted, shifted_for_now, shifts_groups, shifts_in_place
from registry.vared.engine.sums import add_up, summed
from registry.vared.engine.taps import FEW_GROUPS
from registry.vared.engine.values import Copies, Residual, Value, has_factor, side_by_side

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
    rows = data.draw(st.integers(size, 9))
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
        ending = Ending(relu, adds)
        filters = Filters(conv, None, torch.float32)
        assert filters.reads_repeats(len(whole), repeats)
        y, macs = convolved(filters, x_THWC, Cut(5), ending, add, step=step, repeats=repeats)
        torch.testing.assert_close(y, expected.relu() if relu else expected, rtol=1e-5, atol=1e-5)
    # taps of one group are one, and of few groups those that meet padding are none
    if size == 3 and padding == 1 and stride == step == 1 and repeats == 2:
        taps = 2 * len(y) - 2 if rows <= FEW_GROUPS else 2 * (len(y) + 2)
        assert macs == y[0].numel() * 3 * 9 * taps


def test_a_sum_reaches_an_output_that_is_alone() -> None:
    conv = nn.Conv3d(3, 5, (2, 3, 3), (3, 1, 1), (0, 1, 1))
    x_THWC, add = torch.randn(2, 4, 4, 3), torch.randn(1, 4, 4, 5)
    with torch.inference_mode():
        whole = conv(images(x_THWC.repeat_interleave(2, 0)))[0].permute(1, 2, 3, 0)
        filters = Filters(conv, None, torch.float32)
        y, _ = convolved(filters, x_THWC, Cut(5), Ending(adds=True), add, repeats=2)
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


@pytest.mark.parametrize("kernel", [1, 3])
@settings(deadline=None)
@given(data=st.data(), relu=st.booleans())
def test_a_shift_by_rows_is_that_of_the_frames(
    kernel: int, data: st.DataObject, relu: bool
) -> None:
    """What arrives in a row's first and last frame is convolved by itself."""
    repeats = data.draw(st.sampled_from([2, 4]))
    step = data.draw(st.sampled_from([step for step in (1, 2) if step < repeats]))
    num_rows, kept = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    channels, div = data.draw(st.sampled_from([(96, 3), (256, 8)]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    rows = torch.randn(num_rows, 2, 3, channels)
    conv = nn.Conv2d(channels, 5, kernel, padding=kernel // 2)
    x, before = Value(rows, num_rows * repeats, repeats), rows.clone()
    assert shifts_by_rows(x, step, div)
    filters, ending = Filters(conv, None, torch.float32), Ending(relu)
    with torch.inference_mode():
        convolve, macs = ready_by_rows(filters, x, step, div, Cut(kept), ending)
        for _ in range(2):  # nothing of it was written to
            y = convolve(x.data, None)
            expected, _ = convolved(filters, shifted(x, step, div), Cut(kept), ending)
            torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(rows, before)
    moved = channels // div * (2 if step == 1 else 1)
    assert macs == num_rows * 2 * 3 * kept * kernel**2 * (channels + moved)


@pytest.mark.usefixtures("threads")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_shift_in_place_is_that_of_a_copy_and_goes_back(data: st.DataObject) -> None:
    shape = [data.draw(st.integers(1, most)) for most in (5, 9, 9, 24)]
    div, repeats = data.draw(st.sampled_from([3, 4, 8])), data.draw(REPEATS)
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    before = torch.randn(shape).to(dtype)
    value = Value(before.clone(), repeats * len(before), repeats)
    assert shifts_in_place(value, repeats)
    with shifted_for_now(value.data, div, repeats):
        assert torch.equal(value.data, shifted(replace(value, data=before), repeats, div))
    assert torch.equal(value.data, before)


@pytest.mark.usefixtures("threads")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_blend_of_both_axes_is_one_after_the_other(data: st.DataObject) -> None:
    rows, height, width, channels = (data.draw(st.integers(1, most)) for most in (7, 9, 9, 24))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    blend = Blend(-(-channels // 2), data.draw(st.floats(0, 1)))
    share = data.draw(st.floats(0, 1))
    # rows in any order, each once; the last is alone where they are odd
    order = [*data.draw(st.permutations(range(rows))), *[-1] * (rows % 2)]
    pairs = np.array(order, np.int64).reshape(-1, 2)
    x = torch.randn(rows, height, width, channels).to(dtype)
    expected = x.float()
    blend(expected.permute(3, 0, 1, 2))
    for kept, other in pairs:
        if other >= 0:
            expected[other].lerp_(expected[kept], share)
    blend_(x, pairs, blend, share)
    within = 1e-6 if dtype == torch.float32 else 2**-6
    torch.testing.assert_close(x.float(), expected, rtol=within, atol=within)


@pytest.mark.parametrize("kept", [1, 3, 4, 8, 16])
@pytest.mark.parametrize("width", [8, 9, 12, 14])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_columns_taken_together_are_those_one_by_one(
    kept: int, width: int, stride: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(3, 16, (1, 5, 5), (1, stride, stride), (0, 2, 2)).to(dtype)
    x_THWC = torch.randn(2, 6, width, 3).to(dtype)
    within = 1e-5 if dtype == torch.float32 else 2**-7
    with torch.inference_mode():
        filters = Filters(conv, None, dtype)
        y, macs = convolved(filters, x_THWC, Cut(kept))
        expected = conv.float()(images(x_THWC.float()))[0, :kept].permute(1, 2, 3, 0)
        torch.testing.assert_close(y.float(), expected, rtol=within, atol=within)
    # the zeros that vectors are filled with are nobody's multiply-adds
    assert macs == expected.numel() * 3 * 25


@pytest.mark.parametrize("factor", [None, torch.tensor([1.0, 1.0, 1.0, -2.0, 0.5, 3.0, 0.1])])
def test_copies_that_filters_write_down_are_those_written_down_later(
    factor: Tensor | None,
) -> None:
    torch.manual_seed(0)
    filters = Filters(nn.Conv2d(4, 7, 3, padding=1), None, torch.float32)
    copies = Copies((0, 1), 3, torch.arange(7) % 3, factor)
    x_THWC, add = torch.randn(2, 5, 6, 4), torch.randn(2, 5, 6, 7)
    with torch.inference_mode():
        few, _ = convolved(filters, x_THWC, Cut(3))
        expected = (Value(few, 2, copies=copies).all_channels().data + add).relu()
        ending = Ending(relu=True, adds=True)
        y, macs = convolved(filters, x_THWC, Cut(3, written=copies), ending, add)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    # they are computed, and counted
    assert macs == 7 * 2 * 5 * 6 * 4 * 9


@settings(deadline=None)
@given(data=st.data())
def test_blended_filters_make_the_blended_output(data: st.DataObject) -> None:
    num_channels = data.draw(st.integers(2, 9))
    blend = Blend(-(-num_channels // 2), data.draw(st.floats(0, 1)))
    repeats = data.draw(st.sampled_from([1, 2]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    filters = Filters(nn.Conv3d(4, num_channels, 3, padding=1), None, torch.float32)
    x_THWC = torch.randn(3, 5, 6, 4)
    with torch.inference_mode():
        expected, alone = convolved(filters, x_THWC, Cut(num_channels), repeats=repeats)
        blend(expected.permute(3, 0, 1, 2))
        y, macs = convolved(filters, x_THWC, Cut(num_channels, blend=blend), repeats=repeats)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
        again, _ = convolved(filters, x_THWC, Cut(num_channels), repeats=repeats)
    if repeats == 1:
        assert macs == alone + (num_channels - blend.first) * 4 * 3**3
    # those that are kept are as they were, so what blended was no filter of theirs
    assert torch.equal(again[..., : blend.first], expected[..., : blend.first])


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
    x, none_negative = torch.randn(2, height, width, 3, dtype=dtype), data.draw(st.booleans())
    if none_negative:
        x = x.relu()
    y = maxima(x, kernel, stride, padding, dilation, none_negative=none_negative)
    expected = F.max_pool2d(x.permute(0, 3, 1, 2), kernel, stride, padding, dilation)
    assert torch.equal(y, expected.permute(0, 2, 3, 1))
    assert y.is_contiguous()


@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (3, 1, 1), (3, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sum_may_take_the_place_of_what_is_added(
    kernel: tuple[int, ...], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(4, 6, kernel, padding=tuple(size // 2 for size in kernel))
    filters = Filters(conv, None, dtype)
    x_THWC, add = torch.randn(4, 5, 6, 4).to(dtype), torch.randn(4, 5, 6, 6).to(dtype)
    within = 1e-5 if dtype == torch.float32 else 2**-6
    with torch.inference_mode():
        ending = Ending(relu=True, adds=True)
        expected, _ = convolved(filters, x_THWC, Cut(6), ending, add.clone())
        y, _ = convolved(filters, x_THWC, Cut(6), replace(ending, may_write=True), add)
    torch.testing.assert_close(y, expected, rtol=within, atol=within)
    assert y.data_ptr() == add.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_rectified_is_never_negative(dtype: torch.dtype) -> None:
    x = torch.tensor([-torch.inf, -1.5, -1e-38, -0.0, 0.0, 1e-38, 2.5, torch.inf], dtype=dtype)
    expected = x.relu()
    assert rectify(x) is x
    assert torch.equal(x, expected)


@settings(deadline=None)
@given(data=st.data())
def test_lazy_values_lie_side_by_side_as_whole_ones_do(data: st.DataObject) -> None:
    num_frames = data.draw(st.integers(1, 9))
    torch.manual_seed(data.draw(st.integers(0, 99)))

    def part() -> Value:
        repeats, kept = data.draw(REPEATS), data.draw(st.integers(1, 4))
        num_channels = data.draw(st.integers(kept, 9))
        factor = torch.randn(num_channels) if data.draw(st.booleans()) else None
        copies = Copies((0, 1), kept, torch.arange(num_channels) % kept, factor)
        computed = torch.randn(-(-num_frames // repeats), 2, 3, kept)
        scale = data.draw(st.sampled_from([0.5, 1.0, 3.0]))
        is_lazy = data.draw(st.booleans())
        return Value(computed, num_frames, repeats, copies if is_lazy else None, scale)

    parts = [part() for _ in range(data.draw(st.integers(1, 3)))]
    expected = torch.cat([part.whole().data for part in parts], 3)
    torch.testing.assert_close(side_by_side(parts).whole().data, expected)


@settings(deadline=None)
@given(data=st.data())
def test_a_wide_filter_along_columns_taken_together_is_the_filter(data: st.DataObject) -> None:
    kernel = data.draw(st.integers(1, 7))
    row = Row(data.draw(st.integers(kernel, 24)), kernel, data.draw(st.integers(1, 3)), kernel // 2)
    columns = Columns(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    assume(row.width % columns.inputs == 0)
    assume(row.stride * columns.outputs % columns.inputs == 0)
    assume(row.together(columns).num_outputs * columns.outputs == row.num_outputs)
    weight = torch.randn(2, 3, kernel, dtype=torch.float64)
    x_CW = torch.randn(3, row.width, dtype=torch.float64)
    wide = widened(weight, row, columns)
    assert wide.count_nonzero() == columns.outputs * weight.count_nonzero()
    x = x_CW.unflatten(1, (-1, columns.inputs)).permute(2, 0, 1).flatten(0, 1)
    together = row.together(columns)
    y = F.conv1d(x[None], wide, None, together.stride, together.padding)[0]
    expected = F.conv1d(x_CW[None], weight, None, row.stride, row.padding)[0]
    torch.testing.assert_close(y.unflatten(0, (-1, 2)).permute(1, 2, 0).flatten(1), expected)


def convolved(
    filters: Filters,
    x_THWC: Tensor,
    cut: Cut,
    ending: Ending | None = None,
    add: Tensor | None = None,
    **how: int,
) -> tuple[Tensor, int]:
    convolve, macs = filters.ready(x_THWC, cut, ending or Ending(), **how)
    return convolve(x_THWC, add), macs


def images_first(planes: Tensor) -> Tensor:
    """(T, C, H, W) that lies in memory as (C, T, H, W)."""
    return planes.transpose(0, 1).contiguous().transpose(0, 1)


@pytest.fixture(params=["compiled", "by a team", "by PyTorch"])
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes as they run on one thread of a processor, on several, and on any other device."""
    if request.param == "by PyTorch":
        for module in (kernels, sums):
            monkeypatch.setattr(module, "is_compiled", lambda x: False)
    if request.param == "by a team":
        work_together(monkeypatch)


@pytest.fixture(params=["alone", "by a team"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass on one thread and on several."""
    if request.param == "by a team":
        work_together(monkeypatch)


def work_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three threads share what is work for one."""
    monkeypatch.setattr(team, "WORTH_A_THREAD", 1)
    torch.set_num_threads(3)  # a fixture of all tests here sets it back


@pytest.mark.usefixtures("threads")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_filters_that_read_planes_are_the_convolution(data: st.DataObject) -> None:
    def each(least: int, most: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(least, most)) for _ in range(axes))

    axes, relu = data.draw(st.integers(2, 3)), data.draw(st.booleans())
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    kernel, stride, padding = each(1, 7), each(1, 3), each(0, 3)
    if dtype == torch.bfloat16:
        stride = (*stride[:-1], PAIR)
    height = data.draw(st.sampled_from([7, 9, LINES + 7, 3 * LINES]))
    frames, width = data.draw(st.integers(7 if axes == 3 else 1, 9)), data.draw(st.integers(7, 70))
    colours = data.draw(st.integers(1, MOST_COLOURS))
    channels = data.draw(st.integers(1, 9))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    x_THWC = torch.randn(frames, height, width, colours).to(dtype)
    weight, bias = torch.randn(channels, colours, *kernel).to(dtype), torch.randn(channels)
    bias = bias.to(dtype)
    assert moves_over_planes(dtype, stride)
    planes = Planes(weight, x_THWC.shape, stride, padding)
    y = planes(x_THWC, bias, relu=relu)
    x = images(x_THWC.double()) if axes == 3 else x_THWC.double().permute(0, 3, 1, 2)
    convolve = F.conv3d if axes == 3 else F.conv2d
    expected = convolve(x, weight.double(), bias.double(), stride, padding)
    expected = expected[0].movedim(0, -1) if axes == 3 else expected.permute(0, 2, 3, 1)
    assert y.is_contiguous()
    assert y.dtype == dtype
    rounding = max(1e-5, torch.finfo(dtype).eps)
    torch.testing.assert_close(
        y.double(), expected.relu() if relu else expected, rtol=rounding, atol=1e-4
    )


@pytest.mark.parametrize("has_pairs", [False, lanes.HAS_PAIRS])
def test_pairs_are_multiplied_with_an_instruction_for_it_or_without(
    has_pairs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "HAS_PAIRS", has_pairs)
    add_taps = lanes.adds_taps(2)

    @njit
    def add(sums: Any, read: Any, places: Any, weight: Any) -> None:
        add_taps(sums.ctypes.data, sums.shape[1], read.ctypes.data, places.ctypes.data, weight)

    width, taps = 2 * lanes.LANES, 3
    x, weight = (torch.randn(n, 2).bfloat16() for n in (width + taps, taps * lanes.TOGETHER))
    sums, places = np.ones((lanes.TOGETHER, width), np.float32), np.array([2, 0, 1])
    pairs = [array_of(t).reshape(-1).view(np.uint32) for t in (x, weight)]
    add(sums, pairs[0], places, pairs[1].reshape(taps, lanes.TOGETHER))
    read = torch.stack([x[place : place + width] for place in places])
    expected = 1 + torch.einsum("knp,kcp->cn", read.double(), weight.view(taps, -1, 2).double())
    torch.testing.assert_close(torch.from_numpy(sums).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("lies", [Tensor.contiguous, images_first])
def test_a_clip_with_channels_last_is_the_clip(
    lies: Callable[[Tensor], Tensor], channels: int, dtype: torch.dtype
) -> None:
    x_TCHW = lies(torch.randn(2, channels, 3, 5))
    y = kernels.channels_last(x_TCHW, dtype)
    assert y.is_contiguous()
    assert torch.equal(y, x_TCHW.permute(0, 2, 3, 1).to(dtype))


@st.composite
def lazy_maps(draw: st.DrawFn, dtype: torch.dtype) -> tuple[Value, Value]:
    """Two maps of as many frames and channels, copies of either kind in each."""
    num_frames, channels = draw(st.integers(1, 9)), draw(st.sampled_from([6, 8, 32, 64]))
    height, width = draw(st.integers(1, 5)), draw(st.sampled_from([1, 7, 12]))
    torch.manual_seed(draw(st.integers(0, 99)))
    maps = []
    for layer in range(2):
        repeats, kept = draw(REPEATS), -(-channels // draw(st.sampled_from([1, 2, 4])))
        copies = None
        if kept < channels:
            factor = torch.rand(channels) if draw(st.booleans()) else None
            copies = Copies((layer, 0), kept, torch.arange(channels) % kept, factor)
        data = torch.randn(-(-num_frames // repeats), height, width, kept).to(dtype)
        scale = draw(st.sampled_from([1.0, 0.5]))
        maps.append(Value(data, num_frames, repeats, copies, scale))
    return maps[0], maps[1]


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    relu=st.booleans(),
    may_write=st.booleans(),
    is_view=st.booleans(),
    keeps_copies=st.booleans(),
)
def test_a_sum_of_maps_that_are_not_there_in_full_is_that_of_the_maps(
    dtype: torch.dtype,
    data: st.DataObject,
    relu: bool,
    may_write: bool,
    is_view: bool,
    keeps_copies: bool,
) -> None:
    add, y = data.draw(lazy_maps(dtype))
    add, y = replace(add, is_view=is_view), replace(y, is_view=is_view)
    expected = add.whole().data.float() + y.whole().data.float()
    before = [add.data.clone(), y.data.clone()]
    total = summed(Residual(add, relu, may_write), y, keeps_copies=keeps_copies)
    expected = expected.relu() if relu else expected
    within = {torch.float32: 1e-6, torch.bfloat16: 2**-8}[dtype]  # rounded once, and scaled by half
    torch.testing.assert_close(total.whole().data.float(), expected, atol=1e-6, rtol=within)
    assert total.data.is_contiguous()
    if is_view:
        assert torch.equal(y.data, before[1])
    if is_view or not may_write:
        assert torch.equal(add.data, before[0])
    # what both copy alike is copied still
    assert total.repeats == min(add.repeats, y.repeats)
    lie_whole = [part.num_channels % part.data.shape[3] == 0 for part in (add, y)]
    are_alike = add.data.shape[3] == y.data.shape[3] and all(lie_whole)
    has_copies = None not in (add.copies, y.copies) and not any(map(has_factor, (add, y)))
    assert (total.copies is not None) == (keeps_copies and are_alike and has_copies)


@pytest.mark.parametrize("relu", [False, True])
def test_numbers_that_are_none_stay_so_and_all_others_round_as_in_pytorch(relu: bool) -> None:
    """Every bfloat16 plus a number that lies between two of them."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16)
    shape = (1, 16, 16, 256)
    add, y = (Value(x.view(shape), 1) for x in (every, torch.full_like(every, 2**-9)))
    total = every + 2**-9
    found = summed(Residual(add, relu, False), y).data.flatten()
    expected = total.relu() if relu else total
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("passes")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_sums_of_frames_are_those_of_the_pixels_seen(data: st.DataObject) -> None:
    shape = [data.draw(st.integers(1, most)) for most in (3, 9, 13, 40)]
    stride = data.draw(st.integers(1, 4))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    x = torch.randn(shape).to(dtype)
    expected = x[:, ::stride, ::stride].double().sum((1, 2)).float()
    found = torch.from_numpy(kernels.frame_sums(x, stride))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("threads")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_pass_of_gates_is_what_their_layers_make_of_the_mean(data: st.DataObject) -> None:
    shape = [data.draw(st.integers(1, most)) for most in (3, 9, 13, 40)]
    stride, num_gates = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    is_normalised, scale = data.draw(st.booleans()), data.draw(st.sampled_from([1.0, 0.3]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    x, shares, width = torch.randn(shape).to(dtype), torch.rand(shape[0]), 8
    squeeze, squeeze_bias = torch.randn(num_gates, width, shape[3]), torch.randn(num_gates, width)
    if is_normalised:  # so that hidden units add up to zero, as a pass wants them
        squeeze, squeeze_bias = (t - t.mean(1, keepdim=True) for t in (squeeze, squeeze_bias))
    norm_weight, norm_bias = torch.randn(2, num_gates, width)
    weight, bias = torch.randn(num_gates, 4, width), torch.randn(num_gates, 4)
    mean = scale * (shares @ x[:, ::stride, ::stride].float().sum((1, 2)))
    units = squeeze @ mean + squeeze_bias
    if is_normalised:
        units = F.layer_norm(units, (width,)) * norm_weight + norm_bias
    expected = ((weight @ units.tanh()[..., None])[..., 0] + bias).tanh().relu()

    numbers = [squeeze.flatten(0, 1), squeeze_bias.flatten()]
    norm = [t.flatten() if is_normalised else torch.empty(0) for t in (norm_weight, norm_bias)]
    numbers += [*norm, torch.block_diag(*weight), bias.flatten()]
    arrays = [t.numpy() for t in numbers]
    gates = GateNumbers(*arrays[:2], width * is_normalised, 1e-5, *arrays[2:])
    run = GatePass(dtype, x.shape, stride, shares.numpy(), gates)
    for _ in range(2):  # nothing is left of the time before
        run(x.data_ptr(), scale)
        torch.testing.assert_close(
            torch.from_numpy(run.u), expected.flatten(), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_pass_is_what_its_source_says(dtype: torch.dtype) -> None:
    """Python runs the same loops, a number at a time."""
    into, y = torch.randn(1, 1, 3, 2).to(dtype), torch.randn(1, 1, 3, 2).to(dtype)
    read = into.clone()
    add_up.py_func(array_of(y)[0, 0], 1.0, True, array_of(read)[0, 0][:, None])
    torch.testing.assert_close(
        summed(Residual(Value(into, 1), True, False), Value(y, 1)).data, read
    )
