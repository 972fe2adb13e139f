"""OpenVINO on the CPU: the same network, the same outputs, and faster than eager torch.

The network is converted in memory through OpenVINO's own front end rather than `openvino.convert_model`:
that helper reports its use to the vendor where the user once agreed to it for another program.
"""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import numpy as np
import openvino
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import Tensor, nn

from ..errors import EngineError
from ..model.package import Package
from .engine import Floats, SliceOutput, StudyOutput, first_line, in_batches, join

#: Tracing sets process-wide state of torch.
_TRACE = threading.Lock()
#: Slices that the network takes at once, whatever the batch: more, each with its mirror image, outgrow the
#: cache (docs/decisions/0015-mirror-image.md).
_AT_ONCE = 8


class OpenVinoEngine:
    """float32 throughout, so that outputs agree with torch to 1e-3 in the logits."""

    device = "cpu (OpenVINO)"
    input_device = "cpu"
    tolerance = 1e-3

    def __init__(self, package: Package, *, threads: int = 0, batch: int = 32) -> None:
        self.package = package
        self._batch = min(batch, _AT_ONCE)
        size, channels = package.manifest.input_spec.size, package.manifest.input_spec.channels
        core = openvino.Core()
        options = {
            # The default would be bfloat16 where the CPU has it.
            "INFERENCE_PRECISION_HINT": "f32",
            # A dynamic batch in one stream is as fast as two streams or fixed batches (docs/howto/train.md).
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
        }
        try:
            slices = _convert(package.network.slice_net, torch.zeros(2, channels, size, size))
            slices.reshape([-1, channels, size, size])
            self._slices = core.compile_model(slices, "CPU", options)
            embedding = slices.output(0).partial_shape[1].get_length()
            sequence = _convert(
                package.network.sequence_net, (torch.zeros(1, 3, embedding), torch.zeros(1, 3, 1))
            )
            sequence.reshape({0: [1, -1, embedding], 1: [1, -1, 1]})
            self._sequence = core.compile_model(sequence, "CPU", options)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot build the network: {first_line(error)}") from error

    def slices(self, x: Tensor) -> SliceOutput:
        """See `Engine.slices`."""
        parts, self._batch = in_batches(self._forward, x, self._batch)
        return join(parts)

    def _forward(self, x: Tensor) -> SliceOutput:
        result = self._slices(np.ascontiguousarray(x.cpu().numpy(), np.float32))
        return SliceOutput(embedding=result[0], mask_logits=result[1])

    def study(self, embedding: Floats, height: Floats) -> StudyOutput:
        """See `Engine.study`."""
        try:
            result = self._sequence([embedding[None], height[None, :, None]])
        except RuntimeError as error:
            raise EngineError(f"sequence network: {first_line(error)}") from error
        return StudyOutput(slice_logits=result[0][0], study_logits=result[1][0])


def _convert(module: nn.Module, example: Any) -> openvino.Model:
    """A module as an OpenVINO model, by tracing it with `example`."""
    with _TRACE, warnings.catch_warnings():
        # OpenVINO's decoder traces with torch.jit, which torch has announced to retire.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
        # torch's own modules ask about shapes, which do not change here.
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python")
        decoder = TorchScriptPythonDecoder(module, example_input=example)
    frontend = FrontEndManager().load_by_framework("pytorch")
    return frontend.convert(frontend.load(decoder))
