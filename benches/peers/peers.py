"""The `step` benchmark of dpsgd beside PyTorch (without privacy) and Opacus: the same models and batches in one run.

For every model, in every round: PyTorch, dpsgd, Opacus, one after the other. Times are medians of milliseconds a step.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import opacus
import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.layers import DPLSTM, DPMultiheadAttention
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

REPOSITORY = Path(__file__).resolve().parents[2]
CLIP_NORM, NOISE_MULTIPLIER, LEARNING_RATE, VOCABULARY, LENGTH = 0.1, 1.0, 1e-3, 5000, 128

# Every way in which Opacus clips on one machine. "ghost" measures linear and embedding layers without forming their
# gradients per example; "fast" forms every layer's for its norm only (fast gradient clipping). Both go backward twice.
MODES = ["hooks", "functorch", "ew", "ghost", "fast"]

log = partial(print, file=sys.stderr, flush=True)


class Then(nn.Module):
    """A function without parameters as a layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.forward = function


class Embedded(nn.Module):
    """Tokens plus learned positions. Opacus needs the batch dimension in every layer's input, the positions' too."""

    def __init__(self, per_example: bool):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, 128), nn.Embedding(LENGTH, 128)
        self.per_example = per_example

    def forward(self, xs):
        positions = torch.arange(LENGTH).repeat(len(xs), 1) if self.per_example else torch.arange(LENGTH)
        return self.tokens(xs) + self.positions(positions)


class Attention(nn.Module):
    """Four heads: one product for queries, keys and values, and PyTorch's fused attention. Opacus accepts it too."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(128, 3 * 128), nn.Linear(128, 128)

    def forward(self, xs):
        q, k, v = self.qkv(xs).view(*xs.shape[:2], 3, 4, 32).permute(2, 0, 3, 1, 4)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class OpacusAttention(DPMultiheadAttention):
    """Opacus' own layer. (With `batch_first`, 1.6.0 puts its heads together in another order; the work is the same.)"""

    def forward(self, xs):
        return super().forward(xs, xs, xs, need_weights=False)[0]


class Residual(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, xs):
        return xs + super().forward(xs)


def mnist_cnn() -> nn.Module:
    first = [nn.Conv2d(1, 16, 8, 2, padding=2), nn.Tanh(), nn.MaxPool2d(2, 1)]
    second = [nn.Conv2d(16, 32, 4, 2), nn.Tanh(), nn.MaxPool2d(2, 1)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10))


def cifar_cnn() -> nn.Module:
    layers, ins = [], 3
    for outs in (32, 64, 128):
        layers += [nn.Conv2d(ins, outs, 3, padding=1), nn.Tanh(), nn.Conv2d(outs, outs, 3, padding=1), nn.Tanh()]
        layers, ins = [*layers, nn.MaxPool2d(2)], outs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 128), nn.Tanh(), nn.Linear(128, 10))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10))


def lstm(layer: type = nn.LSTM) -> nn.Module:
    last = Then(lambda output: output[0][:, -1])
    return nn.Sequential(nn.Embedding(VOCABULARY, 64), layer(64, 128, batch_first=True), last, nn.Linear(128, 2))


def transformer(attention: Callable[[], nn.Module] = Attention, per_example: bool = False) -> nn.Module:
    layers = [Embedded(per_example)]
    for _ in range(2):
        layers += [Residual(nn.LayerNorm(128), attention())]
        layers += [Residual(nn.LayerNorm(128), nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128))]
    return nn.Sequential(*layers, nn.LayerNorm(128), Then(lambda xs: xs.mean(1)), nn.Linear(128, 2))


@dataclass
class Case:
    """A model of `benches/step/models.rs`: as PyTorch runs it fastest, and as Opacus accepts it if not so."""

    name: str
    shape: tuple[int, ...]
    classes: int
    batches: list[int]
    parameters: int
    plain: Callable[[], nn.Module]
    private: dict[str, Callable[[], nn.Module]] = field(default_factory=dict)
    tokens: bool = False


ATTENTION = {
    "fused attention": lambda: transformer(Attention, True),
    "DPMultiheadAttention": lambda: transformer(lambda: OpacusAttention(128, 4, batch_first=True), True),
}
CASES = [
    Case("mnist-cnn", (1, 28, 28), 10, [64, 256, 1024], 26_010, mnist_cnn),
    Case("cifar-cnn", (3, 32, 32), 10, [256], 550_570, cifar_cnn),
    Case("mlp", (784,), 10, [256], 1_796_010, mlp),
    Case("lstm", (64,), 2, [64], 419_586, lstm, {"DPLSTM": lambda: lstm(DPLSTM)}, tokens=True),
    Case("transformer", (LENGTH,), 2, [32, 128], 1_053_442, transformer, ATTENTION, tokens=True),
    Case("logistic", (123,), 2, [512], 248, lambda: nn.Linear(123, 2)),
    Case("wide-linear", (12_500,), 10, [512], 125_010, lambda: nn.Linear(12_500, 10)),
]


def private(model: nn.Module, optimizer: torch.optim.Optimizer, xs: torch.Tensor, ys: torch.Tensor, mode: str) -> tuple:
    """What Opacus makes of a model, its optimiser and its loss."""
    if mode == "fast":
        model = GradSampleModuleFastGradientClipping(model, max_grad_norm=CLIP_NORM, use_ghost_clipping=False)
    loss, data = nn.CrossEntropyLoss(), DataLoader(TensorDataset(xs, ys), batch_size=len(xs))
    model, optimizer, *ghost_loss, _ = opacus.PrivacyEngine().make_private(
        module=model, optimizer=optimizer, criterion=loss, data_loader=data, noise_multiplier=NOISE_MULTIPLIER,
        max_grad_norm=CLIP_NORM, poisson_sampling=False, grad_sample_mode="ghost" if mode == "fast" else mode,
    )  # fmt: skip
    return model, optimizer, *(ghost_loss or [loss])


def measure(case: Case, batch: int, build: Callable[[], nn.Module], mode: str | None, seconds: float) -> float:
    """The median of at least five steps and so many seconds, after a warm-up that must have changed every parameter."""
    size, ys, network = (batch, *case.shape), torch.arange(batch) % case.classes, build()
    xs = torch.randint(VOCABULARY, size) if case.tokens else torch.rand(size)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == case.parameters, f"{case.name} has {count} parameters instead of {case.parameters}"
    model, optimizer, loss = network, torch.optim.SGD(network.parameters(), lr=LEARNING_RATE), nn.CrossEntropyLoss()
    if mode:
        model, optimizer, loss = private(network, optimizer, xs, ys, mode)

    def steps(least: int, seconds: float) -> list[float]:
        times, begin = [], time.perf_counter()
        while len(times) < least or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            optimizer.zero_grad()
            loss(model(xs), ys).backward()
            optimizer.step()
            times.append((time.perf_counter() - start) * 1e3)
        return times

    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    steps(2, seconds / 8)
    for name, parameter in network.named_parameters():
        assert parameter.isfinite().all() and not parameter.equal(before[name]), f"{name} was not trained"
    return median(steps(5, seconds))


def dpsgd(command: list[str], case: Case, threads: int) -> dict[int, dict]:
    """What the compiled benchmark prints for a model, by batch."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    printed = subprocess.check_output([*command, case.name], cwd=REPOSITORY, env=environment, text=True)
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    lines = {line["batch"]: line for line in lines if line["model"] == case.name}
    if not lines:
        log(f"SKIPPED: dpsgd's benchmark has no model {case.name}")
    for line in lines.values():
        assert (line["parameters"], line["threads"]) == (case.parameters, threads), f"not the same case: {line}"
    return lines


@dataclass
class Results:
    """Milliseconds of every way to train one model at one batch, one number for each round; and what failed."""

    case: Case
    batch: int
    times: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, way: str, milliseconds: float) -> None:
        self.times.setdefault(way, []).append(milliseconds)
        log(f"{self.case.name} {self.batch}: {way} {milliseconds:.4g} ms")

    def run(self, way: str, build: Callable[[], nn.Module], mode: str | None, seconds: float) -> None:
        if way in self.failed:
            return
        try:
            self.add(way, measure(self.case, self.batch, build, mode, seconds))
        except Exception as error:  # what a peer cannot do is a result too
            self.failed[way] = f"{type(error).__name__}: {error}".splitlines()[0]
            log(f"{self.case.name} {self.batch}: {way} FAILED: {self.failed[way]}")
        gc.collect()  # hooks and modules refer to each other

    def summary(self) -> dict:
        medians = {way: median(times) for way, times in self.times.items()}
        best = min((way for way in medians if way.startswith("Opacus")), key=medians.get, default="Opacus")

        def ratio(ours: str, theirs: str) -> float | None:
            pairs = zip(self.times.get(ours, []), self.times.get(theirs, []))  # each round is compared within itself
            return median(ratios) if (ratios := [our / their for our, their in pairs]) else None

        return {
            "model": self.case.name, "batch": self.batch, "parameters": self.case.parameters,
            "pytorch_ms": medians.get("PyTorch"), "opacus_best_ms": medians.get(best), "opacus_best": best,
            "dpsgd_plain_ms": medians.get("dpsgd plain"), "dpsgd_dp_ms": medians.get("dpsgd DP"),
            "plain_vs_pytorch": ratio("dpsgd plain", "PyTorch"), "dp_vs_opacus": ratio("dpsgd DP", best),
            "rounds_ms": self.times, "failed": self.failed,
        }  # fmt: skip


def table(summaries: list[dict]) -> str:
    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"

    ours = "dpsgd plain ms | dpsgd DP ms | plain vs PyTorch | DP vs Opacus"
    lines = [f"model | batch | PyTorch ms | Opacus best ms (mode) | {ours}", " | ".join(["---"] * 8)]
    for s in summaries:
        best = f"{cell(s['opacus_best_ms'])} ({s['opacus_best'].removeprefix('Opacus ')})"
        ours = map(cell, (s["dpsgd_plain_ms"], s["dpsgd_dp_ms"], s["plain_vs_pytorch"], s["dp_vs_opacus"]))
        lines.append(" | ".join([s["model"], str(s["batch"]), cell(s["pytorch_ms"]), best, *ours]))
    return "\n".join(f"| {line} |" for line in lines)


def setting(options: argparse.Namespace) -> dict:
    """Everything that the numbers depend on besides the code here."""
    about = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    processor = [line.split(": ")[1] for line in about.splitlines() if "model name" in line]
    return {
        "date": time.strftime("%Y-%m-%d"), "processor": (processor or [platform.machine()])[0],
        "cores": os.cpu_count(), "threads": options.threads, "rounds": options.rounds, "seconds": options.seconds,
        "PyTorch": torch.__version__, "Opacus": opacus.__version__, "Python": platform.python_version(),
        "dpsgd": subprocess.getoutput(f"git -C '{REPOSITORY}' describe --always --dirty"),
    } | {name: value for name, value in os.environ.items() if name in ("GLIBC_TUNABLES", "LD_PRELOAD")}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="models whose names contain one of these (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement of PyTorch and Opacus")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of all three")
    parser.add_argument("--dpsgd-bench", type=str.split, default="cargo bench --bench step --", help="ours, compiled")
    parser.add_argument("--json", type=Path, help="also write JSON lines: the setting, then every model and batch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    warnings.simplefilter("ignore", UserWarning)  # on secure mode and full backward hooks, at every step
    subprocess.run([*options.dpsgd_bench, "nothing"], cwd=REPOSITORY, check=True)  # builds it before anything is measured
    cases = [case for case in CASES if not options.models or any(name in case.name for name in options.models)]
    results = {case.name: [Results(case, batch) for batch in case.batches] for case in cases}
    for _ in range(options.rounds):
        for case in cases:
            for result in results[case.name]:
                result.run("PyTorch", case.plain, None, options.seconds)
            ours = dpsgd(options.dpsgd_bench, case, options.threads)
            for result in results[case.name]:
                if line := ours.get(result.batch):
                    result.add("dpsgd plain", line["plain_ms"])
                    result.add("dpsgd DP", line["dp_ms"])
                for form, build in (case.private or {"": case.plain}).items():
                    for mode in MODES:
                        result.run(f"Opacus {mode} {form}".strip(), build, mode, options.seconds)
    about, summaries = setting(options), [result.summary() for case in results.values() for result in case]
    print(", ".join(f"{name} {value}" for name, value in about.items()), table(summaries), sep="\n\n", end="\n\n")
    for line in summaries:
        for way, error in line["failed"].items():
            print(f"{line['model']} {line['batch']}: {way} failed with {error}")
    if options.json:
        options.json.write_text("".join(json.dumps(line) + "\n" for line in [about, *summaries]))


if __name__ == "__main__":
    main()
