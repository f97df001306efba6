"""An ONNX model with its tokenizer, in this process. Needs the extra `local`; imported at the first use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer


class OnnxModel:
    """Turns texts into one row of numbers each. Not fast enough for a loop: call it in a thread."""

    def __init__(self, model: Path, tokenizer: Path, *, max_tokens: int, mean: bool, threads: int) -> None:
        """`mean`: over all tokens that are not padding; else the first token speaks for the text."""
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(max_length=max_tokens)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._inputs = {one.name for one in self._session.get_inputs()}
        self._mean = mean

    def __call__(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        encoded = self._tokenizer.encode_batch(list(texts))
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        given = {
            "input_ids": np.array([one.ids for one in encoded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([one.type_ids for one in encoded], np.int64),
        }
        found: Any = self._session.run(None, {name: value for name, value in given.items() if name in self._inputs})
        rows: list[list[float]] = self._pooled(found[0], mask).astype(np.float64).tolist()
        return rows

    def _pooled(self, states: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some models come with their pooling built in, and return a row for each text already."""
        if states.ndim == 2:
            return states
        if not self._mean:
            return states[:, 0]
        weights = mask[:, :, None].astype(np.float32)
        pooled: NDArray[np.float32] = (states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
        return pooled
