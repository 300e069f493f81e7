/**
 * bench/peers/torch_ops.py at small shapes: it times every op that fintune does and torch has, at the shapes of a fintune
 * output, and its lines are read back as figures to compare with.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { readFigures } from "../../src/bench/compare.js";
import { shapeText } from "../../src/bench/op.js";
import { opBenches } from "../../src/bench/registry.js";
import { small, smallBatch } from "../bench/support.js";
import { root } from "../repository.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-torch-ops-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** On the host, or moving what torch moves otherwise. */
const without = [
	"embedding_backward",
	"gather_rows",
	"scatter_rows",
	"store_rows",
	"rope_tables",
	"preference_loss",
	"sample_greedy",
	"sample_draw",
];

it.each(["f32", "bf16"])("times the same ops in torch, %s", { timeout: 600_000 }, (dtype) => {
	const lines = opBenches.flatMap((bench) =>
		bench.shapes(small, smallBatch).map((shape) => ({ op: bench.name, shape: shapeText(shape), dtype: bench.dtype ?? dtype })),
	);
	const like = join(dir, "ours.jsonl");
	writeFileSync(like, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
	// OpenBLAS settings of fintune's own are not torch's.
	const { OPENBLAS_CORETYPE: _type, OPENBLAS_L2_SIZE: _size, ...env } = process.env;
	const options = [
		"--device",
		"cpu",
		"--threads",
		"1",
		"--rounds",
		"2",
		"--warmup",
		"0",
		"--chill",
		"4096",
		"--case",
		"gemm:M=16",
	];
	const python = process.env.FINTUNE_PEER_PYTHON as string;
	const { status, stdout, stderr } = spawnSync(python, [join(root, "bench/peers/torch_ops.py"), "--like", like, ...options], {
		encoding: "utf8",
		env,
	});
	expect(stderr).toContain("not in torch, left out");
	expect(status, stderr).toBe(0);
	const out = join(dir, "torch.jsonl");
	writeFileSync(out, stdout);
	const found = readFigures(out).map(({ op, shape }) => `${op} ${shape}`);
	const wanted = lines.filter(({ op }) => !without.includes(op)).map(({ op, shape }) => `${op} ${shape}`);
	expect(found.sort()).toEqual([...wanted, "gemm M=16"].sort());
});
