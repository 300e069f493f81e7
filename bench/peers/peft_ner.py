#!/usr/bin/env python3
"""How fast, and in how much memory, transformers + PEFT does the LoRA SFT that fintune is measured on.

Trains LoRA (r 128, alpha 256, every linear layer but the head) for a few optimiser steps on rows of
{"prompt", "completion"}, in a given order, and prints one JSON document. README.md beside this file says
how to set it up and what the forms mean.

The recipe: a row is prompt + " " + completion + EOS, with a loss on the completion and EOS only; a step is
16 rows in micro-batches of 8, each padded on the right to its longest row; the loss is the mean over all
targets of the step. AdamW without decay, five warm-up steps and then a straight line to zero over the whole
order, gradients clipped at 1.
"""
import argparse
import contextlib
import json
import platform
import resource
import sys
import time

WARMUP_STEPS = 5


def arguments() -> argparse.Namespace:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True, help="Hugging Face folder of the base model")
    ap.add_argument("--rows", required=True, help="JSON lines of prompt and completion")
    ap.add_argument("--order", required=True, help="JSON list: row numbers in the order of training")
    ap.add_argument("--steps", type=int, default=4, help="optimiser steps; the first is left out of the speed")
    ap.add_argument("--dtype", choices=("bf16", "f32"), default="f32", help="dtype of the frozen base weights")
    ap.add_argument("--autocast", action=argparse.BooleanOptionalAction, default=None,
                    help="multiply in bf16 (default: with --dtype bf16)")
    ap.add_argument("--form", choices=("plain", "target-logits"), default="plain",
                    help="plain: logits at every position; target-logits: only where there is a target")
    ap.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa")
    ap.add_argument("--gradient-checkpointing", action="store_true", help="recompute each layer in the backward pass")
    ap.add_argument("--fused", action=argparse.BooleanOptionalAction, default=True, help="torch's fused AdamW")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--batch", type=int, default=16, help="rows of an optimiser step")
    ap.add_argument("--micro-batch", type=int, default=8, help="rows of a forward and backward pass")
    ap.add_argument("--r", type=int, default=128, help="LoRA rank; alpha is twice that")
    ap.add_argument("--learning-rate", type=float, default=2e-4)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--save-initial", metavar="DIR", help="store the untrained adapter, for a run that starts from the same")
    args = ap.parse_args()
    if args.steps < 2:
        ap.error("--steps must be at least 2: the first step is not timed")
    if args.batch % args.micro_batch:
        ap.error(f"--batch {args.batch} is not a multiple of --micro-batch {args.micro_batch}")
    if args.autocast is None:
        args.autocast = args.dtype == "bf16"
    return args


def peak_bytes() -> int:
    """Highest resident memory of this process so far. Linux counts ru_maxrss in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def read_examples(path: str, tok) -> list[tuple[list[int], int]]:
    """(token ids, length of the prompt) of every row; both parts are encoded apart, so that the mask is exact."""
    examples = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            prompt = tok(row["prompt"])["input_ids"]
            completion = tok(" " + row["completion"])["input_ids"]
            examples.append((prompt + completion + [tok.eos_token_id], len(prompt)))
    return examples


def collate(torch, rows: list[tuple[list[int], int]], pad: int):
    """input_ids, attention_mask, labels, each [N, longest]; labels are already shifted: position t holds t+1."""
    longest = max(len(ids) for ids, _ in rows)
    input_ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    labels = torch.full((len(rows), longest), -100)
    for n, (ids, prompt) in enumerate(rows):
        seq = torch.tensor(ids)
        input_ids[n, : len(ids)] = seq
        mask[n, : len(ids)] = 1
        labels[n, prompt - 1 : len(ids) - 1] = seq[prompt:]
    return input_ids, mask, labels


def summed_loss(torch, model, form: str, input_ids, mask, labels):
    """Sum of the cross-entropy over the targets, in float32."""
    cross_entropy = torch.nn.functional.cross_entropy
    if form == "plain":
        logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits.float()
        return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    causal_lm = model.get_base_model()
    decoder, head = causal_lm.base_model, causal_lm.get_output_embeddings()
    hidden = decoder(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
    wanted = labels != -100
    return cross_entropy(head(hidden[wanted]).float(), labels[wanted], reduction="sum")


def main() -> None:
    args = arguments()
    import peft
    import torch
    import transformers

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    memory = {"after_import": peak_bytes()}

    tok = transformers.AutoTokenizer.from_pretrained(args.model)
    examples = read_examples(args.rows, tok)
    with open(args.order, encoding="utf-8") as f:
        order = json.load(f)
    if args.steps * args.batch > len(order):
        raise SystemExit(f"{args.steps} steps of {args.batch} rows need {args.steps * args.batch} entries, "
                         f"{args.order} has {len(order)}")

    weights_dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(
        args.model, dtype=weights_dtype, attn_implementation=args.attention)
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model = peft.get_peft_model(model, peft.LoraConfig(
        r=args.r, lora_alpha=2 * args.r, target_modules="all-linear", task_type="CAUSAL_LM"))
    if args.save_initial:
        model.save_pretrained(args.save_initial)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    for p in trained:
        p.data = p.data.float()
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, weight_decay=0.0, fused=args.fused)
    memory["after_load"] = peak_bytes()

    schedule = len(order) // args.batch
    steps = []
    for s in range(args.steps):
        start = time.perf_counter()
        factor = min(1.0, (s + 1) / WARMUP_STEPS) * (1 - s / schedule)
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * factor
        rows = [examples[i] for i in order[s * args.batch : (s + 1) * args.batch]]
        targets = sum(len(ids) - prompt for ids, prompt in rows)
        loss_of_step, padded = 0.0, 0
        for first in range(0, args.batch, args.micro_batch):
            batch = collate(torch, rows[first : first + args.micro_batch], tok.pad_token_id)
            cast = torch.autocast("cpu", dtype=torch.bfloat16) if args.autocast else contextlib.nullcontext()
            with cast:
                loss = summed_loss(torch, model, args.form, *batch) / targets
            loss.backward()
            loss_of_step += loss.item()
            padded += batch[0].numel()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0).item()
        optimizer.step()
        optimizer.zero_grad()
        steps.append({"loss": loss_of_step, "grad_norm": norm, "seconds": time.perf_counter() - start,
                      "tokens": sum(len(ids) for ids, _ in rows), "padded_tokens": padded, "targets": targets})
        print(f"step {s}: {json.dumps(steps[-1])}", file=sys.stderr, flush=True)

    timed = steps[1:]
    seconds = sum(x["seconds"] for x in timed)
    memory["peak"] = peak_bytes()
    print(json.dumps({
        "peer": "transformers + PEFT",
        "form": args.form, "dtype": args.dtype, "autocast": args.autocast, "attention": args.attention,
        "gradient_checkpointing": args.gradient_checkpointing, "fused": args.fused, "threads": args.threads,
        "batch": args.batch, "micro_batch": args.micro_batch, "r": args.r,
        "trained_parameters": sum(p.numel() for p in trained),
        "tokens_per_second": sum(x["tokens"] for x in timed) / seconds,
        "seconds_per_step": seconds / len(timed),
        "timed_steps": len(timed),
        "losses": [x["loss"] for x in steps],
        "peak_resident_bytes": memory["peak"], "resident_bytes": memory,
        "steps": steps,
        "machine": {"processor": platform.machine(), "cpu_capability": torch.backends.cpu.get_cpu_capability()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__, "peft": peft.__version__},
    }, indent=1))


if __name__ == "__main__":
    main()
