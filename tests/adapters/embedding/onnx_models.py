"""A language model of a few hundred bytes, with everything that a real one has: inputs, layers, tokenizer."""

import random
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

DIMENSIONS = 16
CHARACTERS = "".join(map(chr, range(33, 127))) + "不可抗力条款一"
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def make_model(folder: Path, *, dimensions: int = DIMENSIONS, pooled: bool = False, broken: bool = False) -> None:
    """Each character has a direction; `pooled`: the mean is taken inside. `broken`: what comes out are no numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate([*MARKS, *CHARACTERS])}
    _tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    (folder / "onnx").mkdir(exist_ok=True)
    onnx.save(_model(len(vocabulary), dimensions, pooled=pooled, broken=broken), str(folder / "onnx" / "model.onnx"))


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    marks = [(mark, vocabulary[mark]) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    return tokenizer


def _model(words: int, dimensions: int, *, pooled: bool, broken: bool) -> Any:
    source = random.Random(7)
    value = float("nan") if broken else 1.0
    table = [source.gauss(0, 1) * value for _ in range(words * dimensions)]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["states"], axis=0)]
    shape: list[str | int] = ["texts", "tokens", dimensions]
    if pooled:
        nodes.append(helper.make_node("ReduceMean", ["states", "axes"], ["pooled"], keepdims=0))
        shape = ["texts", dimensions]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])],
        [helper.make_tensor_value_info("pooled" if pooled else "states", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("table", TensorProto.FLOAT, [words, dimensions], table),
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
