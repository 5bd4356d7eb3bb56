"""Every backbone that a recipe can name, with random weights, in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from toolkit.exporting import serving_graph
from toolkit.exporting.formats import to_onnx, to_savedmodel, to_tflite
from toolkit.model_files.contract import Contract
from toolkit.model_files.conventions import Output, Values
from toolkit.training.networks import keras_model
from toolkit.training.recipes.recipe import load_recipe, parse_recipe
from toolkit.training.recipes.recipe_schema import BACKBONES


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_gives_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    text = load_recipe("transfer").text.replace('"EfficientNetLite0"', f'"{name}"').replace('"imagenet"', '"none"')
    recipe = parse_recipe(text.replace("= 160", "= 64"), source="mine.toml", name="mine")
    trained = keras_model.build(recipe, 3, seed=0).network
    contract = Contract(labels=("a", "b", "c"), preprocess=recipe.preprocess)
    network = serving_graph.build(trained, contract, Values.BYTES, Output.PROBABILITIES)
    images_u8 = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    expected = network.predict(images_u8)

    model = to_onnx.convert(network, 17).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, {"images": images_u8})[0] - expected).max() < 1e-4

    interpreter = Interpreter(model_content=to_tflite.convert(network, None))
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(source, images_u8.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, images_u8)
    interpreter.invoke()
    assert np.abs(interpreter.get_tensor(target) - expected).max() < 1e-4

    to_savedmodel.save(network, tmp_path / "saved", contract)
    assert np.abs(to_savedmodel.load(tmp_path / "saved")(images_u8) - expected).max() < 1e-4
