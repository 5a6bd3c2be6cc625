"""A GPU that is none: tensors that say ``cuda:0`` over CPU memory, and refuse what a GPU's refuse.

    python tests/pretended_gpu.py MODULE ARGUMENTS... [--then MODULE ARGUMENTS...]

runs commands of the repository so; one with the further argument ``--interrupted`` is stopped after
its first saved state. Triton's kernels are started and do nothing, and new memory is
full of zeros: spikes are silent there, and only what surrounds the kernels is tried. The last line
that it prints is JSON, a list for the commands: ``status``, ``steps`` (for every step of an
optimizer the waits and copies since the one before), and how often which line waited or copied and
which kernel was started.

A wait is what keeps the host until the GPU is done: reading a number, ``nonzero``, a copy to the
GPU from memory that is not pinned. Refused are operations on tensors of two devices, NumPy's view
of a tensor on the GPU, a generator of another device, a CPU tensor for a kernel. Convolutions are
rounded to TF32 where PyTorch is allowed to. Not seen: numbers otherwise, time, memory, order.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from collections import Counter

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
GPU = torch.device("cuda", 0)
WAITS: Counter[str] = Counter()
COPIES: Counter[str] = Counter()
_HERE = os.getcwd()
_READING = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.is_nonzero, aten.equal}
_READING |= {aten._unique2, aten.unique_dim, aten.unique_consecutive}
_COPYING = {aten.copy_, aten._to_copy}
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
_WITH_NUMBERS = {aten.masked_fill, aten.masked_fill_, aten.fill_, aten.where, aten.lerp, aten.clamp}


def count(counter: Counter[str], what: str) -> None:
    """Note what happened, with the line of the repository that did it."""
    frames = [f for f in traceback.extract_stack(limit=30) if f.filename.startswith(_HERE)]
    places = [f for f in frames if "pretended_gpu" not in f.filename and ".venv" not in f.filename]
    where = f"{os.path.relpath(places[-1].filename)}:{places[-1].lineno}" if places else "elsewhere"
    counter[f"{what} {where}"] += 1


class OnGPU(Tensor):
    """A tensor on the pretended GPU; ``inner`` holds its numbers."""

    @staticmethod
    def __new__(cls, inner):
        options = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        options |= {"dtype": inner.dtype, "layout": inner.layout, "device": "cpu"}
        found = Tensor._make_wrapper_subclass(cls, inner.size(), requires_grad=False, **options)
        found.inner = inner
        return found

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def __repr__(self, **_):
        return f"OnGPU({self.inner!r})"

    def numpy(self, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu()")

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def tolist(self):
        count(WAITS, "tolist")
        return self.inner.tolist()

    def data_ptr(self):
        return self.inner.data_ptr()

    def untyped_storage(self):
        return self.inner.untyped_storage()

    def __reduce_ex__(self, protocol):
        return self.inner.detach().__reduce_ex__(protocol)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            memo[id(self)] = OnGPU(self.inner.detach().clone()).requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                memo[id(self)]._is_param = True
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs, packet = kwargs or {}, func.overloadpacket
        plain = [
            x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and type(x) is not OnGPU
        ]
        if plain and packet not in _COPYING:
            _check_mixed(func, packet, args, plain)
        masks = packet is aten.index and any(
            x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]
        )
        if packet in _READING or masks:
            count(WAITS, packet.__name__)
        if packet is aten._to_copy:
            kwargs = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory")}
        inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
        if packet is aten.detach:
            return OnGPU(args[0].inner.detach())
        if packet is aten.copy_ and type(args[0]) is not OnGPU:
            count(WAITS, "copy_")
            with torch.no_grad():
                args[0].copy_(inner_args[1])
            return args[0]
        if packet is aten.convolution and torch.backends.cudnn.allow_tf32:
            inner_args = (*map(_tf32, inner_args[:2]), *inner_args[2:])
        out = func(*inner_args, **inner_kwargs)
        out = tree_map(lambda x: OnGPU(x) if isinstance(x, Tensor) else x, out)
        return return_and_correct_aliasing(func, args, kwargs, out)


def _inner(x):
    return x.inner if isinstance(x, OnGPU) else x


def _tf32(x):
    """Rounded to 10 bits, to nearest even."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def _check_mixed(func, packet, args, plain) -> None:
    numbers = all(x.dim() == 0 for x in plain)
    if packet in _INDEXING and type(args[0]) is OnGPU:
        if len(args) < 3 or type(args[2]) is OnGPU or args[2].dim() == 0:
            return
    elif numbers and (
        torch.Tag.pointwise in func.tags
        or packet in _WITH_NUMBERS
        or packet.__name__.startswith(("_foreach", "_fused"))
    ):
        return
    raise RuntimeError(f"Expected all tensors on the same device, not cuda:0 and cpu ({func})")


class _ToGPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return OnGPU(x.detach().clone(memory_format=torch.preserve_format))

    @staticmethod
    def backward(ctx, gradient):
        return to_cpu(gradient)


class _ToCPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.inner.detach().clone(memory_format=torch.preserve_format)

    @staticmethod
    def backward(ctx, gradient):
        return to_gpu(gradient)


def to_gpu(x: Tensor, blocking: bool = True) -> Tensor:
    """A copy there."""
    if isinstance(x, OnGPU):
        return x
    count(COPIES, f"{x.numel() * x.element_size()} bytes")
    if blocking or not getattr(x, "pinned", False):
        count(WAITS, "copy of memory that is not pinned")
    return _ToGPU.apply(x)


def to_cpu(x: Tensor) -> Tensor:
    """A copy here."""
    if not isinstance(x, OnGPU):
        return x
    count(WAITS, "cpu")
    return _ToCPU.apply(x)


_FACTORIES = {torch.zeros, torch.ones, torch.empty, torch.full, torch.arange, torch.rand}
_FACTORIES |= {torch.randn, torch.randint, torch.randperm, torch.eye, torch.linspace, torch.tensor}
_FACTORIES |= {torch.as_tensor, torch.scalar_tensor, torch.empty_strided, torch.zeros_like}
_FACTORIES |= {torch.ones_like, torch.empty_like, torch.full_like, torch.rand_like}
_FACTORIES |= {torch.randn_like, Tensor.new_tensor, Tensor.new_zeros, Tensor.new_ones}
_FACTORIES |= {Tensor.new_empty, Tensor.new_full}
_EMPTY = {torch.empty, torch.empty_like, torch.empty_strided, Tensor.new_empty}
_WHOLE = {torch.nn.functional.one_hot, torch.searchsorted, torch.bucketize, torch.isin}


class Devices(TorchFunctionMode):
    """Sends tensors to the pretended GPU and back."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.to:
            return self.to(*args, **kwargs)
        if func in (Tensor.cpu, Tensor.cuda):
            return to_cpu(args[0]) if func is Tensor.cpu else to_gpu(args[0])
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if func in _FACTORIES:
            return self.make(func, args, kwargs)
        if func in _WHOLE and any(isinstance(x, OnGPU) for x in tensors):
            inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
            return OnGPU(func(*inner_args, **inner_kwargs))
        generators = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch._C.Generator)]
        if generators and tensors:
            _check_generator(generators[0], tensors[0].device)
        return func(*args, **kwargs)

    def to(self, x, *args, **kwargs):
        blocking = not kwargs.pop("non_blocking", False)
        device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        for a in args:
            if isinstance(a, Tensor):
                device, dtype = a.device, a.dtype
            elif isinstance(a, torch.dtype):
                dtype = a
            elif isinstance(a, (torch.device, str)):
                device = a
        # When gradients are clipped PyTorch's C++ sees CPU tensors, and would bring a factor there.
        if device is not None and not sys._getframe(2).f_code.co_filename.endswith("clip_grad.py"):
            on_gpu = torch.device(device).type == "cuda"
            x = to_gpu(x, blocking) if on_gpu else to_cpu(x)
        return Tensor.to(x, x.dtype if dtype is None else dtype, **kwargs)

    def make(self, func, args, kwargs):
        given = kwargs.pop("device", None)
        like = next((x for x in args if isinstance(x, OnGPU)), None)
        follows = like is not None and func not in (torch.tensor, torch.as_tensor)
        on_gpu = torch.device(given).type == "cuda" if given is not None else follows
        if "generator" in kwargs and kwargs["generator"] is not None:
            _check_generator(kwargs["generator"], GPU if on_gpu else torch.device("cpu"))
        if func is torch.as_tensor and like is not None:
            return self.to(like, **({} if given is None else {"device": given}), **kwargs)
        if on_gpu and func in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            count(COPIES, "a list")
            count(WAITS, "copy of memory that is not pinned")
        inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
        out = func(*inner_args, **inner_kwargs)
        if not on_gpu:
            return out
        if func in _EMPTY:
            out.detach().zero_()
        return OnGPU(out.detach()).requires_grad_(out.requires_grad)


def _check_generator(generator, device) -> None:
    if generator.device.type != device.type:
        raise RuntimeError(f"Expected a '{device.type}' generator, found '{generator.device.type}'")


class Generator(torch._C.Generator):
    """A CPU generator that may say that it is one of the GPU."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls, device="cpu")
        made.says = torch.device(device).type
        return made

    def __init__(self, device="cpu"):
        pass

    device = property(lambda self: GPU if self.says == "cuda" else torch.device("cpu"))


class _Autocast(torch.amp.autocast):
    def __init__(self, device_type, *args, **kwargs):
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


def install(gpus: int = 1) -> None:
    """Pretend from now on, in this process."""
    cuda = torch.cuda
    answers = {
        "is_available": True,
        "device_count": gpus,
        "current_device": 0,
        "get_device_name": "Pretended GPU",
        "get_device_capability": (9, 0),
        "is_bf16_supported": True,
        "memory_allocated": 0,
        "max_memory_allocated": 1,
        **dict.fromkeys(("set_device", "synchronize", "reset_peak_memory_stats"), None),
        **dict.fromkeys(("device", "device_of"), contextlib.nullcontext()),
    }
    for name, answer in answers.items():
        setattr(cuda, name, lambda *_, answer=answer, **__: answer)
    torch.Generator = Generator
    torch.autocast = torch.amp.autocast = torch.amp.autocast_mode.autocast = _Autocast
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.inference_mode = lambda on=True: torch.no_grad() if on else contextlib.nullcontext()
    torch.autograd.has_torch_function = lambda *_: False

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        torch.autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def pin_memory(self, *_):
        pinned = self.detach().clone()
        pinned.pinned = True
        return pinned

    Tensor.backward, Tensor.pin_memory = backward, pin_memory
    torch._C._push_on_torch_function_stack(Devices())
    _start_nothing()
    from common import checkpoints

    checkpoints._PLAIN = (*checkpoints._PLAIN, OnGPU)


LAUNCHES: Counter[str] = Counter()


def _start_nothing() -> None:
    from triton.runtime.jit import JITFunction

    def run(self, *args, grid, **_):
        if any(isinstance(x, Tensor) and type(x) is not OnGPU for x in tree_leaves(args)):
            raise ValueError("Pointer argument cannot be accessed from Triton (cpu tensor?)")
        assert all(0 < n < 2**31 for n in grid), f"{self.fn.__name__} was started with {grid}"
        LAUNCHES[self.fn.__name__] += 1

    JITFunction.run = run


def _interrupt(*_):
    raise KeyboardInterrupt


def run(module: str, arguments: list[str]) -> dict:
    """What one command did."""
    for counter in (WAITS, COPIES, LAUNCHES):
        counter.clear()
    seen, steps = [0, 0], []

    def note(*_):
        now = [WAITS.total(), COPIES.total()]
        steps.append([b - a for a, b in zip(seen, now, strict=True)])
        seen[:] = now

    main = importlib.import_module(module).main
    handle = register_optimizer_step_post_hook(note)
    with contextlib.ExitStack() as stack:
        stack.callback(handle.remove)
        if "--interrupted" in arguments:
            for holder in [m for m in sys.modules.values() if hasattr(m, "save_training_state")]:
                save = holder.save_training_state
                stack.callback(setattr, holder, "save_training_state", save)
                after = lambda *a, save=save: (save(*a), _interrupt())  # noqa: E731
                holder.save_training_state = after
        status = main([x for x in arguments if x != "--interrupted"])
    counters = {"waits": WAITS, "copies": COPIES, "launches": LAUNCHES}
    counted = {name: dict(counter.most_common(60)) for name, counter in counters.items()}
    return {"module": module, "status": status, "steps": steps, **counted}


def main() -> None:
    """Run commands one after the other, and say what waited."""
    sys.path.insert(0, _HERE)
    install()
    commands: list[list[str]] = [[]]
    for word in sys.argv[1:]:
        commands = [*commands, []] if word == "--then" else [*commands[:-1], [*commands[-1], word]]
    print(json.dumps([run(module, arguments) for module, *arguments in commands]), flush=True)


if __name__ == "__main__":
    sys.modules["pretended_gpu"] = sys.modules["__main__"]
    main()
