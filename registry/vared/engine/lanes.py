"""The innermost loop of convolutions by vectors of pixels, whose sums stay in registers. Ours.

Compilers keep sums of a loop over taps in memory, where each product costs two more accesses. So
this loop is put together here, out of LLVM's own instructions on vectors.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
"""Numbers of a vector: AVX2's."""
TOGETHER = 4
"""Output channels at a time: with three vectors of each, sums fill twelve registers of sixteen."""
BYTES = 4
"""Of a number."""

_NUMBER, _ADDRESS = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_NUMBER, LANES)


def adds_taps(vectors: int) -> Any:
    """Return what adds products over taps to some vectors of sums of `TOGETHER` channels.

    For compiled code to call, with addresses that are numbers:
    `add_taps(sums, apart, read, places, weight, taps)` does, for each channel c and each of the
    first `vectors * LANES` numbers n,

        sums[c * apart + n] += sum over k < taps of weight[k, c] * read[places[k] + n]

    Numbers are float32, places int64; addresses are not checked, and there is a tap.
    """

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        sums, apart, *others = arguments
        sums = builder.inttoptr(sums, _NUMBER.as_pointer())
        channels = [builder.mul(apart, _ADDRESS(c)) for c in range(TOGETHER)]
        written = [
            _vector_at(builder, sums, builder.add(channel, _ADDRESS(v * LANES)))
            for channel, v in product(channels, range(vectors))
        ]
        before = [builder.load(place, align=BYTES) for place in written]
        after = _over_taps(builder, before, *others)
        for place, total in zip(written, after, strict=True):
            builder.store(total, place, align=BYTES)
        return context.get_dummy_value()

    def add_taps(
        _: Any, sums: Any, apart: Any, read: Any, places: Any, weight: Any, taps: Any
    ) -> Any:
        return types.void(sums, apart, read, places, weight, taps), generate

    return intrinsic(add_taps)


def _over_taps(
    builder: Any, before: list[Any], read: Any, places: Any, weight: Any, taps: Any
) -> list[Any]:
    """Write the loop; return what the vectors of sums, channel by channel, are behind it."""
    read, weight = (builder.inttoptr(start, _NUMBER.as_pointer()) for start in (read, weight))
    places = builder.inttoptr(places, _ADDRESS.as_pointer())
    entry, loop = builder.block, builder.append_basic_block("taps")
    end = builder.append_basic_block("end")
    builder.branch(loop)
    builder.position_at_end(loop)
    tap, *sums = (builder.phi(kind) for kind in (_ADDRESS, *[_VECTOR] * len(before)))
    start = builder.gep(read, [builder.load(builder.gep(places, [tap]))])
    factors = builder.gep(weight, [builder.mul(tap, _ADDRESS(TOGETHER))])
    after = _one_tap(builder, sums, start, factors)
    following = builder.add(tap, _ADDRESS(1))
    ways = zip((tap, *sums), (_ADDRESS(0), *before), (following, *after), strict=True)
    for value, first, then in ways:
        value.add_incoming(first, entry)
        value.add_incoming(then, loop)
    builder.cbranch(builder.icmp_signed("<", following, taps), loop, end)
    builder.position_at_end(end)
    return after


def _one_tap(builder: Any, sums: list[Any], read: Any, weight: Any) -> list[Any]:
    """Add one tap's products; return the sums."""
    insert: Any = cgutils.get_or_insert_function
    fused_type = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    fused = insert(builder.module, fused_type, f"llvm.fma.v{LANES}f32")
    vectors = range(len(sums) // TOGETHER)
    pixels = [
        builder.load(_vector_at(builder, read, _ADDRESS(v * LANES)), align=BYTES) for v in vectors
    ]
    factors = [
        _in_all_lanes(builder, builder.load(builder.gep(weight, [_ADDRESS(c)])))
        for c in range(TOGETHER)
    ]
    products = zip(product(factors, pixels), sums, strict=True)
    return [builder.call(fused, [factor, pixel, total]) for (factor, pixel), total in products]


def _vector_at(builder: Any, start: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(start, [index]), _VECTOR.as_pointer())


def _in_all_lanes(builder: Any, number: Any) -> Any:
    none, lane = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(none, number, lane(0))
    return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(lane, LANES), None))
