"""The same ops in PyTorch: the shapes of a fintune output, timed in the same interleaved rounds, written as the same lines.

    fintune bench kernels --json > ours.jsonl
    python bench/peers/torch_ops.py --like ours.jsonl > torch.jsonl
    fintune bench kernels --against torch.jsonl

Each op is what a PyTorch program would run at its best without a compiler: scaled_dot_product_attention (all back-ends
allowed, a batch of equal sequences; one call a length where the last is shorter), F.linear with LoRA's two small
products beside it as PEFT has them, F.linear with cross_entropy over f32 logits, rms_norm, silu * up, fused AdamW. A
backward line times the backward pass alone, on a graph that was built before the clock started.
"""
import argparse
import json
import math
import platform
import random
import sys
import time

# fintune's dtype names; its f32 stays f32 (no TF32).
DTYPES = ("f32", "bf16", "fp16")


def parse_shape(text: str) -> dict[str, int]:
    """"T=512,D=576" as a dict."""
    return {letter: int(value) for letter, value in (part.split("=") for part in text.split(","))}


def read_cases(paths: list[str], cases: list[str], dtype: str) -> list[tuple[str, str, str]]:
    """(op, shape, dtype) of every line of the files, and of every "OP:SHAPE"."""
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                figure = json.loads(line)
                if "op" in figure:
                    found.append((figure["op"], figure["shape"], figure["dtype"]))
    for case in cases:
        op, _, shape = case.partition(":")
        found.append((op, shape, dtype))
    return list(dict.fromkeys(found))


class Ops:
    """One method an op: takes its sizes, returns a function to time, and one to call before each timed run (or None)."""

    def __init__(self, torch, device: str, dtype: str):
        self.torch = torch
        self.f = torch.nn.functional
        self.device = device
        self.dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]

    def normal(self, *shape, dtype=None, std=1.0, grad=False):
        values = self.torch.randn(shape, device=self.device, dtype=self.torch.float32) * std
        return values.to(dtype or self.dtype).requires_grad_(grad)

    def indices(self, count, bound):
        return self.torch.randint(bound, (count,), device=self.device)

    def backward_of(self, forward, inputs):
        """Times the backward pass of forward() for all inputs; the graph is built outside of the clock."""
        state = {}

        def prepare():
            for x in inputs:
                x.grad = None
            state["y"] = forward()
            if "dy" not in state:
                state["dy"] = self.torch.randn_like(state["y"])

        return lambda: state["y"].backward(state["dy"]), prepare

    def forward_of(self, forward):
        def run():
            with self.torch.no_grad():
                forward()

        return run, None

    # The yardsticks.
    def gemm(self, M):
        x, w = self.normal(M, M), self.normal(M, M)
        return self.forward_of(lambda: self.f.linear(x, w))

    def copy(self, BYTES):
        x = self.normal(BYTES // 4, dtype=self.torch.float32)
        y = self.torch.empty_like(x)
        return (lambda: y.copy_(x)), None

    # The ops.
    def embedding_forward(self, T, V, D):
        ids, w = self.indices(T, V), self.normal(V, D)
        return self.forward_of(lambda: self.f.embedding(ids, w).float())

    def _rmsnorm(self, T, D, grad):
        x, delta = self.normal(T, D, dtype=self.torch.float32, grad=grad), self.normal(T, D, dtype=self.torch.float32)
        w = self.normal(D, dtype=self.torch.float32)
        return (lambda: self.f.rms_norm(x + delta, (D,), w, 1e-6).to(self.dtype)), [x]

    def rmsnorm_forward(self, T, D):
        return self.forward_of(self._rmsnorm(T, D, False)[0])

    def rmsnorm_backward(self, T, D):
        return self.backward_of(*self._rmsnorm(T, D, True))

    def _linear(self, T, IN, OUT, R, grad):
        x, w = self.normal(T, IN, grad=grad), self.normal(OUT, IN, std=0.02)
        if R == 0:
            return (lambda: self.f.linear(x, w)), [x]
        # PEFT under autocast: masters in f32, products in the compute type.
        a = self.normal(R, IN, dtype=self.torch.float32, std=0.02, grad=grad)
        b = self.normal(OUT, R, dtype=self.torch.float32, std=0.02, grad=grad)

        def forward():
            u = self.f.linear(x, a.to(self.dtype))
            return self.f.linear(x, w) + self.f.linear(u, b.to(self.dtype)) * 2.0

        return forward, [x, a, b]

    def linear_forward(self, T, IN, OUT, R):
        return self.forward_of(self._linear(T, IN, OUT, R, False)[0])

    def linear_backward(self, T, IN, OUT, R):
        return self.backward_of(*self._linear(T, IN, OUT, R, True))

    def _rope(self, T, S, H, K, sign):
        x = self.normal(T, H, K)
        positions = self.torch.arange(T, device=self.device) % S
        frequencies = 1e4 ** (-self.torch.arange(0, K, 2, device=self.device) / K)
        angles = self.torch.outer(positions.float(), frequencies)[:, None, :]
        cos, sin = angles.cos().to(self.dtype), angles.sin().to(self.dtype) * sign

        def turn():
            left, right = x.chunk(2, -1)
            return self.torch.cat((left * cos - right * sin, right * cos + left * sin), -1)

        return self.forward_of(turn)

    def rope_forward(self, T, S, H, K):
        return self._rope(T, S, H, K, 1)

    def rope_backward(self, T, S, H, K):
        return self._rope(T, S, H, K, -1)

    def _attention(self, T, S, H, G, K, grad):
        # Equal sequences as one batch, a shorter last one apart.
        batches = [(n, s) for n, s in ((T // S, S), (1, T % S)) if n * s > 0]
        inputs = [[self.normal(n, heads, s, K, grad=grad) for heads in (H, G, G)] for n, s in batches]

        def forward():
            return [self.f.scaled_dot_product_attention(*qkv, is_causal=True, enable_gqa=H != G) for qkv in inputs]

        return forward, [x for qkv in inputs for x in qkv]

    def attention_forward(self, T, S, H, G, K):
        return self.forward_of(self._attention(T, S, H, G, K, False)[0])

    def attention_backward(self, T, S, H, G, K):
        forward, inputs = self._attention(T, S, H, G, K, True)
        return self.backward_of(lambda: self.torch.cat([y.flatten() for y in forward()]), inputs)

    def attention_decode(self, N, L, H, G, K):
        q, k, v = self.normal(N, H, 1, K), self.normal(N, G, L, K), self.normal(N, G, L, K)
        return self.forward_of(lambda: self.f.scaled_dot_product_attention(q, k, v, enable_gqa=H != G))

    def _swiglu(self, T, F, grad):
        gate, up = self.normal(T, F, grad=grad), self.normal(T, F, grad=grad)
        return (lambda: self.f.silu(gate) * up), [gate, up]

    def swiglu_forward(self, T, F):
        return self.forward_of(self._swiglu(T, F, False)[0])

    def swiglu_backward(self, T, F):
        return self.backward_of(*self._swiglu(T, F, True))

    def _head(self, T, V, D, grad):
        h, w, targets = self.normal(T, D, grad=grad), self.normal(V, D, std=0.02), self.indices(T, V)
        return h, (lambda: self.f.cross_entropy(self.f.linear(h, w).float(), targets))

    def linear_logprob_forward(self, T, V, D):
        return self.forward_of(self._head(T, V, D, False)[1])

    def linear_logprob_backward(self, T, V, D):
        # As in fintune: loss and gradient in one.
        h, loss = self._head(T, V, D, True)

        def run():
            h.grad = None
            loss().backward()

        return run, None

    def _parameters(self, P, C):
        sizes = [P * (i + 1) // C - P * i // C for i in range(C)]
        tensors = [self.normal(n, dtype=self.torch.float32, grad=True) for n in sizes]
        for x in tensors:
            x.grad = self.normal(x.numel(), dtype=self.torch.float32, std=1e-3)
        return tensors

    def adamw(self, P, C):
        optimizer = self.torch.optim.AdamW(self._parameters(P, C), lr=1e-4, fused=True)
        return optimizer.step, None

    def global_norm(self, P, C):
        gradients = [x.grad for x in self._parameters(P, C)]
        return self.forward_of(lambda: self.torch.nn.utils.get_total_norm(gradients).item())


class Clock:
    """Milliseconds of one call by the device's clock, with cold caches."""

    def __init__(self, torch, device: str, chill_bytes: int):
        self.torch, self.cuda = torch, device.startswith("cuda")
        self.cold = torch.randn(chill_bytes // 4, device=device) if chill_bytes else None
        self.to = torch.empty_like(self.cold) if chill_bytes else None

    def __call__(self, run) -> float:
        if self.cold is not None:
            self.to.copy_(self.cold)
        if not self.cuda:
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start) * 1e3
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)


def quantile(values: list[float], q: float) -> float:
    values = sorted(values)
    at = q * (len(values) - 1)
    low = math.floor(at)
    return values[low] + (at - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def rounded(x: float) -> float:
    return float(f"{x:.4g}")


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--like", action="append", default=[], help="JSON lines of fintune bench kernels (repeatable)")
    ap.add_argument("--case", action="append", default=[], help="OP:LETTER=N,... (repeatable)")
    ap.add_argument("--device", default=None, help="cpu, cuda or cuda:N (default: cuda where there is one)")
    ap.add_argument("--dtype", choices=DTYPES, default="f32", help="of --case; --like has its own")
    ap.add_argument("--rounds", type=int, default=20)
    ap.add_argument("--warmup", type=float, default=None, help="seconds before the rounds of a group (default 0.1, 0.5 on a GPU)")
    ap.add_argument("--threads", type=int, default=None)
    ap.add_argument("--chill", type=int, default=None, help="bytes copied before each run (default 2^26, 2^28 on a GPU)")
    args = ap.parse_args()
    if args.rounds < 1:
        ap.error("--rounds must be at least 1")
    import torch

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.startswith("cuda")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    warmup = args.warmup if args.warmup is not None else (0.5 if on_gpu else 0.1)
    clock = Clock(torch, device, args.chill if args.chill is not None else 2 ** (28 if on_gpu else 26))
    machine = {
        "cpu": platform.machine(), "threads": torch.get_num_threads(), "python": platform.python_version(),
        "torch": torch.__version__, "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
    }

    cases = read_cases(args.like, args.case, args.dtype)
    unknown = sorted({op for op, _, _ in cases if not hasattr(Ops, op)})
    if unknown:
        print(f"not in torch, left out: {', '.join(unknown)}", file=sys.stderr)
    cases = [case for case in cases if case[0] not in unknown]
    if not cases:
        ap.error("no case is left: --like FILE or --case OP:SHAPE")

    # By family, as fintune does, so that not all tensors lie in memory at once.
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for case in cases:
        groups.setdefault(case[0].removesuffix("_forward").removesuffix("_backward"), []).append(case)
    order = random.Random(0)
    for family, members in groups.items():
        print(family, file=sys.stderr, flush=True)
        prepared = [getattr(Ops(torch, device, dtype), op)(**parse_shape(shape)) for op, shape, dtype in members]
        times: list[list[float]] = [[] for _ in members]
        start = time.perf_counter()
        while True:
            for run, before in prepared:
                if before:
                    before()
                clock(run)
            if time.perf_counter() - start >= warmup:
                break
        for _ in range(args.rounds):
            for i in order.sample(range(len(members)), len(members)):
                run, before = prepared[i]
                if before:
                    before()
                times[i].append(clock(run))
        for (op, shape, dtype), samples in zip(members, times):
            print(json.dumps({
                "peer": "torch", "op": op, "shape": shape, "dtype": dtype, "device": device,
                "ms": {f"p{q}": rounded(quantile(samples, q / 100)) for q in (20, 50, 80)},
                "samples_ms": [rounded(x) for x in samples], "machine": machine,
            }), flush=True)
        del prepared


if __name__ == "__main__":
    main()
