"""The innermost loop of convolutions by vectors of pixels, whose sums stay in registers. Ours.

Compilers keep sums of a loop over taps in memory, where each product costs two more accesses. So
this loop is put together here, out of LLVM's own instructions on vectors.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

llvm.initialize_native_asmparser()  # for the one instruction that is written as such

_FEATURES = llvm.get_host_cpu_features()
HAS_VECTORS = bool(_FEATURES.get("avx512f") or (_FEATURES.get("avx2") and _FEATURES.get("fma")))
"""Whether the processor has AVX2's vectors, or AVX-512's."""
HAS_PAIRS = bool(_FEATURES.get("avx512bf16"))
"""Whether it multiplies pairs of bfloat16 and adds up in float32."""
LANES, MOST_VECTORS = (16, 4) if _FEATURES.get("avx512f") else (8, 3)
"""Sums of a vector, and vectors at a time, so that sums of `TOGETHER` channels fill half of the
registers of AVX-512, which has 32, and three quarters of AVX2's."""
TOGETHER = 4
"""Output channels at a time."""
BYTES = 4
"""Of a number in float32, and of a pair in bfloat16."""

_NUMBER, _WORD, _ADDRESS = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_SUMS, _WORDS = ir.VectorType(_NUMBER, LANES), ir.VectorType(_WORD, LANES)


def adds_taps(vectors: int) -> Any:
    """Return what adds products over taps to some vectors of sums of `TOGETHER` channels.

    For compiled code to call, with addresses that are numbers:
    `add_taps(sums, apart, read, places, weight)` does, for each channel c, each of the first
    `vectors * LANES` numbers n, and each tap k of `weight`, which has one at the least,

        sums[c * apart + n] += weight[k, c] * read[places[k] + n]

    Sums are float32, places int64. `weight` is an array, (taps, TOGETHER), contiguous: of float32,
    as is what is read, or of uint32: pairs of bfloat16, as is what is read, whose two products are
    added. Addresses are not checked.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, apart, read, places, weight = arguments
        kind = signature.args[4]
        filters = context.make_array(kind)(context, builder, weight)
        taps = builder.extract_value(filters.shape, 0)
        in_pairs = kind.dtype == types.uint32
        sums = builder.inttoptr(sums, _NUMBER.as_pointer())
        channels = [builder.mul(apart, _ADDRESS(c)) for c in range(TOGETHER)]
        written = [
            _vector_at(builder, sums, builder.add(channel, _ADDRESS(v * LANES)), _SUMS)
            for channel, v in product(channels, range(vectors))
        ]
        before = [builder.load(place, align=BYTES) for place in written]
        number = _WORD if in_pairs else _NUMBER
        read = builder.inttoptr(read, number.as_pointer())
        places = builder.inttoptr(places, _ADDRESS.as_pointer())
        factors = builder.bitcast(filters.data, number.as_pointer())
        after = _over_taps(builder, before, read, places, factors, taps)
        for place, total in zip(written, after, strict=True):
            builder.store(total, place, align=BYTES)
        return context.get_dummy_value()

    def add_taps(_: Any, sums: Any, apart: Any, read: Any, places: Any, weight: Any) -> Any:
        return types.void(sums, apart, read, places, weight), generate

    return intrinsic(add_taps)


def _over_taps(
    builder: Any, before: list[Any], read: Any, places: Any, weight: Any, taps: Any
) -> list[Any]:
    """Write the loop; return what the vectors of sums, channel by channel, are behind it."""
    entry, loop = builder.block, builder.append_basic_block("taps")
    end = builder.append_basic_block("end")
    builder.branch(loop)
    builder.position_at_end(loop)
    tap, *sums = (builder.phi(kind) for kind in (_ADDRESS, *[_SUMS] * len(before)))
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
    """Add the products of one tap; return the sums."""
    in_pairs = read.type.pointee == _WORD
    kind, add = (_WORDS, _add_pairs) if in_pairs else (_SUMS, _add_products)
    vectors = range(len(sums) // TOGETHER)
    pixels = [
        builder.load(_vector_at(builder, read, _ADDRESS(v * LANES), kind), align=BYTES)
        for v in vectors
    ]
    factors = [
        _in_all_lanes(builder, builder.load(builder.gep(weight, [_ADDRESS(c)])), kind)
        for c in range(TOGETHER)
    ]
    products = zip(product(factors, pixels), sums, strict=True)
    return [add(builder, factor, pixel, total) for (factor, pixel), total in products]


def _add_products(builder: Any, factor: Any, pixel: Any, total: Any) -> Any:
    insert: Any = cgutils.get_or_insert_function
    fused_type = ir.FunctionType(_SUMS, [_SUMS] * 3)
    fused = insert(builder.module, fused_type, f"llvm.fma.v{LANES}f32")
    return builder.call(fused, [factor, pixel, total])


def _add_pairs(builder: Any, factor: Any, pixel: Any, total: Any) -> Any:
    """Add the products of the lower halves and of the upper ones."""
    if HAS_PAIRS:
        # not LLVM's own function for it, whose types are others from one LLVM to the next
        multiply = ir.InlineAsm(
            ir.FunctionType(_SUMS, [_SUMS, _WORDS, _WORDS]), "vdpbf16ps $3, $2, $0", "=v,0,v,v"
        )
        return builder.call(multiply, [total, pixel, factor])
    for half in (_lower_half, _upper_half):
        total = _add_products(builder, half(builder, factor), half(builder, pixel), total)
    return total


def _lower_half(builder: Any, words: Any) -> Any:
    """The first bfloat16 of each pair, as float32."""
    return builder.bitcast(builder.shl(words, ir.Constant(_WORDS, [16] * LANES)), _SUMS)


def _upper_half(builder: Any, words: Any) -> Any:
    """The second one."""
    kept = ir.Constant(_WORDS, [0xFFFF0000] * LANES)
    return builder.bitcast(builder.and_(words, kept), _SUMS)


def _vector_at(builder: Any, start: Any, index: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(start, [index]), kind.as_pointer())


def _in_all_lanes(builder: Any, number: Any, kind: Any) -> Any:
    none, lane = ir.Constant(kind, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(none, number, lane(0))
    return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(lane, LANES), None))
