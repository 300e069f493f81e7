/**
 * Attention's kernels on device simt: the same bits with 20 schedules, and every synchronisation and swizzle needed, for
 * each of the tile shapes that GPUs get.
 */
import { describe, expect, it } from "vitest";
import { kernels, type Tensor } from "../../src/engine/kernels.js";
import { expectEverySiteNeeded } from "../simt/sites.js";
import { Pages } from "./pages.js";
import { bitsEqual, normal, starts } from "./support.js";

const simt = kernels.simt;
type Type = "f32" | "bf16" | "f16";

/** A check that `run`, on the device as it is set, gives the bits of the first time. */
function sameBits(run: () => Tensor[]): () => void {
	const want = run().map((t) => t.toFloat32Array());
	return () => {
		run().forEach((t, i) => {
			expect(bitsEqual(t.toFloat32Array(), want[i] as Float32Array), `output ${i}`).toBe(true);
		});
	};
}

/** Runs with 20 schedules, copies landing early, late and anywhere. */
function everySchedule(check: () => void): void {
	for (const mode of ["early", "late", "random"] as const) {
		simt?.setAsyncMode(mode);
		for (let seed = 1; seed <= 20; seed++) {
			simt?.setSeed(seed);
			check();
		}
	}
}

function start(capability: number): void {
	kernels.setDevice("simt");
	simt?.reset();
	simt?.setCapability(capability);
}

/** One row a number of keys: a span holds 256. */
function decode(lengths: readonly number[], dim: number, dtype: Type): () => Tensor[] {
	const [heads, kvHeads, pageTokens] = [4, 2, 32];
	const pages = new Pages(lengths, pageTokens);
	const pool = (seed: number) =>
		kernels.tensor(
			[pages.rows, kvHeads * dim],
			pages.lay(
				lengths.map((n, i) => normal(seed + i, n * kvHeads * dim)),
				kvHeads * dim,
			),
			{ dtype },
		);
	const q = kernels.tensor([lengths.length, heads * dim], normal(1, lengths.length * heads * dim), { dtype });
	const [keys, values] = [pool(10), pool(50)];
	const table = kernels.tensor([lengths.length, pages.maxPages], pages.table);
	const seen = kernels.tensor([lengths.length], Int32Array.from(lengths));
	const compute = dtype;
	return () => [kernels.attentionDecode(q, keys, values, table, seen, { heads, kvHeads, pageTokens, compute })];
}

function forwardAndBackward(lengths: readonly number[], dim: number, dtype: Type): () => Tensor[] {
	const [heads, kvHeads, tokens] = [1, 1, lengths.reduce((a, b) => a + b, 0)];
	const put = (seed: number, n: number) => kernels.tensor([tokens, n * dim], normal(seed, tokens * n * dim), { dtype });
	const [q, k, v, dy] = [put(1, heads), put(2, kvHeads), put(3, kvHeads), put(4, heads)];
	const options = { cuSeqlens: kernels.tensor([lengths.length + 1], starts(lengths)), heads, kvHeads, compute: dtype };
	return () => {
		const forward = kernels.attention(q, k, v, options);
		const { dq, dk, dv } = kernels.attentionBackward(q, k, v, forward, dy, options);
		return [forward.y, forward.lse, dq, dk, dv];
	};
}

describe.runIf(simt).each([
	[80, "f32", [1, 70, 300], 20],
	[80, "bf16", [1, 70, 300], 20],
	[75, "f16", [70, 300], 20],
	[86, "bf16", [70, 300], 20],
] as const)("paged decoding, sm_%i, %s", (capability, dtype, lengths, dim) => {
	it("gives the same bits with every schedule", () => {
		start(capability);
		everySchedule(sameBits(decode(lengths, dim, dtype)));
	});

	it("needs every synchronisation that it has", () => {
		start(capability);
		expectEverySiteNeeded(sameBits(decode(lengths, dim, dtype)), { capability, seeds: 20 });
	});
});

describe.runIf(simt).each([
	[80, "f32", 20],
	[80, "bf16", 64],
	[80, "bf16", 128],
	[86, "bf16", 64],
	[86, "bf16", 80],
	[86, "bf16", 128],
	[75, "f16", 64],
	[75, "f16", 128],
] as const)("attention, sm_%i, %s, heads of %i", (capability, dtype, dim) => {
	it("needs every synchronisation and swizzle that it has", () => {
		start(capability);
		expectEverySiteNeeded(sameBits(forwardAndBackward([150, 20], dim, dtype)), { capability, seeds: 3 });
	});
});
