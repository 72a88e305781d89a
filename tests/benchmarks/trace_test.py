import pytest

from benchmarks.training import trace


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("gradient_tape/MatMul_5/MatMul:_MklMatMul", "matrix products"),
        ("BiasAdd_3:_MklNativeFusedMatMul", "matrix products"),
        ("gradient_tape/MatMul_2/MatMul:_MklBatchMatMulV2", "matrix products"),
        ("AdamWeightDecay/AdamWeightDecay/update_65/mul_1:Mul", "optimizer"),
        ("clip_by_global_norm/mul_34:Mul", "optimizer"),
        ("gradient_tape/UnsortedSegmentSum:UnsortedSegmentSum", "embedding gradient"),
        (
            "stateless_dropout_13/stateless_random_uniform/StatelessRandomUniformV2:StatelessRandomUniformV2",
            "random numbers",
        ),
        ("gradient_tape/stateless_dropout_2/SelectV2:SelectV2", "dropout"),
        ("gradient_tape/moments/Mul:Mul", "normalisation"),
        ("gradient_tape/transpose_1/transpose:_MklTranspose", "copies"),
        ("PyFunc:PyFunc", "input pipeline"),
        ("AddN_27:AddN", "other elementwise operations"),
    ],
)
def test_kinds_of_operations(operation, kind):
    assert trace.kind_of(operation) == kind


def test_moments_with_two_operations_are_shared():
    intervals = [(0.0, 2.0, "a"), (1.0, 2.0, "b")]
    assert trace.seconds_by_kind(intervals, wall=3.0) == {"a": 1.5, "b": 0.5, trace.IDLE: 1.0}


def test_two_operations_of_one_kind_at_once_count_once():
    assert trace.seconds_by_kind([(0.0, 2.0, "a"), (0.0, 2.0, "a")], wall=2.0) == {"a": 2.0, trace.IDLE: 0.0}
