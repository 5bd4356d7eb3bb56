"""What is done to an int8 TFLite file so that it keeps the accuracy: corrected biases, a head in float32."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from toolkit.exporting import serving_graph
from toolkit.exporting.calibration import Calibration
from toolkit.exporting.formats import to_tflite
from toolkit.exporting.formats.tflite_int8.biases import _moved, channel_means, with_corrected_biases
from toolkit.exporting.formats.tflite_int8.file import DENSE, DEPTHWISE, packed, read, weighted_layers
from toolkit.exporting.formats.tflite_int8.head import with_float_head
from toolkit.exporting.formats.tflite_int8.input import with_exact_input
from toolkit.exporting.formats.tflite_int8.quantize import in_integers, to_int8
from toolkit.exporting.formats.tflite_int8.weights import layer_moments, with_weights_rounded_together
from toolkit.exporting.serving_graph import Network
from toolkit.images.spec import Preprocess
from toolkit.model_files.contract import Contract
from toolkit.model_files.conventions import Output, Values

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Images = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def _run(
    model: bytes, images_u8: Images, *, dtype: type[np.generic]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    interpreter = Interpreter(model_content=model)
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(source, images_u8.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, images_u8.astype(dtype))
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(target).copy())


def _int8(network: Network, images_u8: Images, calibration: Calibration = Calibration.MINMAX) -> bytes:
    return in_integers(network, to_tflite.calibrated(network, images_u8), calibration, images_u8)


def _network(classes: int = 4, rescaling: keras.layers.Layer | None = None) -> tuple[Network, Images]:
    """One whose rounded weights cost much, as the first rows of each kernel make the steps of the others coarse."""
    rng = np.random.default_rng(0)
    layers = [
        keras.Input((16, 16, 3)),
        rescaling or keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(24, 3, padding="same", activation="relu"),
        keras.layers.DepthwiseConv2D(3, padding="same", activation="relu"),
        keras.layers.Conv2D(64, 1, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(classes, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            kernel = rng.normal(0, 0.15, kernel.shape).astype(np.float32)
            kernel[0] *= 6
            layer.set_weights([kernel, rng.normal(0, 0.1, bias.shape)])
    contract = Contract(labels=tuple("abcdefgh"[:classes]), preprocess=Preprocess(height=16, width=16))
    network = serving_graph.build(model, contract, Values.BYTES, Output.PROBABILITIES)
    return network, rng.integers(0, 256, (48, 16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("scale", "offset", "fits"), [(1 / 255, 0, False), (1 / 128, -127 / 128, True), (1 / 127.5, -1, False)]
)
def test_scaled_images_keep_each_step_of_a_byte(scale: float, offset: float, *, fits: bool) -> None:
    network, images_u8 = _network(rescaling=keras.layers.Rescaling(scale, offset))
    images_u8[0, 0, 0] = 0, 255, 127
    int8 = _int8(network, images_u8)
    exact = to_tflite.convert(network, None, takes_float=True)
    changed = with_exact_input(int8)
    assert (changed != int8) == fits
    assert with_exact_input(exact) == exact
    if not fits:
        return
    given = Interpreter(model_content=changed).get_input_details()[0]
    assert (given["dtype"], given["quantization"]) == (np.uint8, (1.0, 0))
    shades_u8 = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    steps = [len(np.unique(_scaled(file, shades_u8))) for file in (int8, changed)]
    assert steps[0] < 256
    assert steps[1] == 256
    expected = _run(exact, images_u8, dtype=np.float32)
    before, after = (np.abs(_run(file, images_u8, dtype=np.uint8) - expected).mean() for file in (int8, changed))
    assert after <= before


def _scaled(model: bytes, images_u8: Images) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    """What the first layer with weights is given."""
    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images_u8)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(weighted_layers(read(model))[0].source))


def test_the_corrected_file_is_nearer_to_the_float_one() -> None:
    network, images_u8 = _network()
    int8 = _int8(network, images_u8)
    exact = to_tflite.convert(network, None, takes_float=True)
    corrected = with_corrected_biases(int8, exact, channel_means(exact, images_u8))
    expected = _run(exact, images_u8, dtype=np.float32)
    before, after = (np.abs(_run(file, images_u8, dtype=np.uint8) - expected).mean() for file in (int8, corrected))
    assert corrected != int8
    assert after < before
    other = _other(network.contract)
    assert with_corrected_biases(int8, other, channel_means(other, images_u8)) == int8


def test_percentile_ranges_leave_out_what_is_rare() -> None:
    """A few bright pixels of one image make values that no other does."""
    network, images_u8 = _network()
    images_u8 = np.tile((images_u8 // 8 + 100).astype(np.uint8), (10, 1, 1, 1))
    images_u8[7, 0, 0] = 255
    ranges = []
    for calibration in (Calibration.MINMAX, Calibration.PERCENTILE):
        model = read(_int8(network, images_u8, calibration))
        targets = [model.subgraphs[0].tensors[layer.target] for layer in weighted_layers(model)]
        ranges.append([float(tensor.quantization.scale[0]) for tensor in targets])
        given = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].quantization
        assert (given.scale[0], given.zeroPoint[0]) == (pytest.approx(1, rel=1e-5), 0)
    assert ranges[1][0] < 0.9 * ranges[0][0]
    assert ranges[1][-1] == ranges[0][-1]  # the logits


def test_files_in_the_order_in_which_they_are_tried() -> None:
    network, images_u8 = _network()
    exact = to_tflite.convert(network, None, takes_float=True)
    expected = _run(exact, images_u8, dtype=np.float32)
    tried = list(to_int8(network, images_u8))
    assert [last_resort for last_resort, _ in tried] == [False, False, True, True]
    errors = [np.abs(_run(file, images_u8, dtype=np.uint8) - expected).mean() for _, file in tried]
    assert max(errors[:3]) < errors[3]  # as the converter made it


@pytest.mark.parametrize("classes", [4, 8])
def test_a_float_head_leaves_the_integers_before_it_and_has_no_steps(classes: int) -> None:
    network, images_u8 = _network(classes)
    int8 = _int8(network, images_u8)
    exact = to_tflite.convert(network, None, takes_float=True)
    mixed = with_float_head(int8, exact)
    assert mixed is not None
    expected = _run(exact, images_u8, dtype=np.float32)
    before, after = (_run(file, images_u8, dtype=np.uint8) for file in (int8, mixed))
    assert np.abs(after - expected).mean() < np.abs(before - expected).mean()
    assert np.abs(after.sum(axis=1) - 1).max() < 1e-6
    assert len(np.unique(after)) > len(np.unique(before))
    kinds = [tensor["dtype"] for tensor in Interpreter(model_content=mixed).get_tensor_details()]
    assert kinds.count(np.int8) > 5
    assert len(mixed) < len(int8) + 4 * 65 * classes + 2048  # the weights of the old head are gone


def test_a_network_without_a_dense_layer_has_no_float_head() -> None:
    layers = [keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 3), keras.layers.GlobalAveragePooling2D()]
    contract = Contract(labels=("a", "b", "c"), preprocess=Preprocess(height=16, width=16))
    network = serving_graph.build(keras.Sequential(layers), contract, Values.BYTES, Output.LOGITS)
    images_u8 = _network()[1]
    int8 = _int8(network, images_u8)
    assert with_float_head(int8, to_tflite.convert(network, None, takes_float=True)) is None


def test_a_head_that_takes_more_than_one_tensor_stays() -> None:
    images = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(images))
    branches = [keras.layers.Dense(2)(pooled), keras.layers.Dense(2)(keras.layers.Dense(8, "relu")(pooled))]
    model = keras.Model(images, keras.layers.Softmax()(keras.layers.Concatenate()(branches)))
    network, images_u8 = _built(model, 4), _network()[1]
    exact = to_tflite.convert(network, None, takes_float=True)
    assert with_float_head(_int8(network, images_u8), exact) is None


def test_what_shares_the_place_of_a_bias_or_a_weight_keeps_its_numbers() -> None:
    """The zero bias of a convolution without one is also the zero of other operations."""
    network, images_u8 = _network()
    model = read(_int8(network, images_u8))
    tensors, first = model.subgraphs[0].tensors, weighted_layers(model)[0]
    others = [copy.deepcopy(tensors[at]) for at in (first.bias, first.weight)]
    before = [np.array(model.buffers[other.buffer].data) for other in others]
    tensors += others
    exact = to_tflite.convert(network, None, takes_float=True)
    rounded = with_weights_rounded_together(packed(model), exact, layer_moments(exact, images_u8))
    changed = read(with_corrected_biases(rounded, exact, channel_means(exact, images_u8)))
    tensors = changed.subgraphs[0].tensors
    for at, kept, other in zip((first.bias, first.weight), before, tensors[-2:], strict=True):
        assert (changed.buffers[other.buffer].data == kept).all()
        assert (changed.buffers[tensors[at].buffer].data != kept).any()


def _built(model: keras.Model, classes: int) -> Network:
    contract = Contract(labels=tuple("abcdefgh"[:classes]), preprocess=Preprocess(height=16, width=16))
    return serving_graph.build(model, contract, Values.BYTES, Output.PROBABILITIES)


def _other(contract: Contract) -> bytes:
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
    network = serving_graph.build(model, contract, Values.BYTES, Output.LOGITS)
    return to_tflite.convert(network, None, takes_float=True)


def test_what_lost_weights_would_have_added() -> None:
    lost = np.zeros((1, 3, 3, 4))
    lost[0, :, :, 2] = 1
    assert _moved(DEPTHWISE, lost, np.array([1.0, 2.0])).tolist() == [0, 0, 18, 0]
    assert _moved(DENSE, np.ones((1, 6)), np.array([1.0, 2.0])).tolist() == [9]
