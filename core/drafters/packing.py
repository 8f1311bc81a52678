"""Linear layers of drafters as what computes the target reads them."""

from core.backends.cpu.forward import CpuForward
from core.backends.cpu.linear import can_read_dense, cpu_bytes
from core.backends.torch.forward import TorchForward
from core.backends.torch.linear import DenseLinear, Linear
from core.backends.torch.weights import LayerWeights


def packed_for(forward: TorchForward, linear: Linear) -> Linear:
    """In 8 bits, where compiled kernels compute the target and fit the layer."""
    if not isinstance(forward, CpuForward) or not isinstance(linear, DenseLinear):
        return linear
    if not can_read_dense(linear.weight):
        return linear
    return cpu_bytes(forward.kernels, linear.weight, linear.bias)


def packed_layer(forward: TorchForward, layer: LayerWeights) -> LayerWeights:
    """All its linear layers so."""
    linears = layer.linears().items()
    return layer.with_linears({name: packed_for(forward, linear) for name, linear in linears})
