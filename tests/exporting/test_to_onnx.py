"""The bytes of an ONNX file depend on the network alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from toolkit.exporting.formats.to_onnx import name_weights

N_LAYERS = 4


def network(names: list[str], order: list[int]) -> onnx.ModelProto:
    """A chain of additions whose weights have these names and lie in this order in the file."""
    tensors = ["x", *(f"h{i}" for i in range(N_LAYERS - 1)), "y"]
    nodes = [
        helper.make_node("Add", [before, names[i]], [after]) for i, (before, after) in enumerate(pairwise(tensors))
    ]
    weights = [numpy_helper.from_array(np.full(3, i, np.float32), names[i]) for i in order]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("x", "y")]
    return helper.make_model(helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights))


@given(st.permutations([f"const__{i}" for i in range(N_LAYERS)]), st.permutations(range(N_LAYERS)))
def test_names_and_order_of_weights_do_not_matter(names: list[str], order: list[int]) -> None:
    plain = network([f"weights_{i}" for i in range(N_LAYERS)], list(range(N_LAYERS)))
    other = network(names, order)
    name_weights(other.graph)
    onnx.checker.check_model(other)
    assert other.SerializeToString() == plain.SerializeToString()


def test_weights_that_no_node_reads_are_left_out() -> None:
    model = network([f"w{i}" for i in range(N_LAYERS)], list(range(N_LAYERS)))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "unused"))
    name_weights(model.graph)
    assert [weight.name for weight in model.graph.initializer] == [f"weights_{i}" for i in range(N_LAYERS)]
