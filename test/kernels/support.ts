/**
 * What the kernel tests share: seeded numbers, goldens, tensors between poisoned margins and columns, error measures.
 * @module
 */
import { fileURLToPath } from "node:url";
import { afterEach, expect, it } from "vitest";
import { kernels, type Tensor, type TensorDtype } from "../../src/engine/kernels.js";
import { readSafetensorsRaw } from "../../src/engine/safetensors.js";

export type Numbers = Float32Array | Float64Array | Int32Array | readonly number[];

/** Uniform in [0, 1), from a seed (mulberry32). */
export function random(seed: number): () => number {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let t = Math.imul(state ^ (state >>> 15), state | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
}

/** n values, normal(0, std), as f32. */
export function normal(seed: number, n: number, std = 1): Float32Array {
	const u = random(seed);
	return Float32Array.from({ length: n }, () => std * Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u()));
}

/** n whole numbers in [-range, range]. */
export function integers(seed: number, n: number, range: number): Float32Array {
	const u = random(seed);
	return Float32Array.from({ length: n }, () => Math.floor(u() * (2 * range + 1)) - range);
}

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** Rounds to bf16, ties to even. */
export function bf16(x: number): number {
	float[0] = x;
	const bits = word[0] as number;
	if (!Number.isFinite(x)) return x;
	word[0] = ((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000) >>> 0;
	return float[0];
}

/** Rounds to f16, ties to even. */
export function f16(x: number): number {
	if (x === 0 || !Number.isFinite(x)) return x;
	const unit = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), -14) - 10);
	const shift = 1.5 * 2 ** 52 * unit; // beside it a double has no finer places than the unit
	const y = x + shift - shift;
	return Math.abs(y) > 65504 ? Math.sign(x) * Number.POSITIVE_INFINITY : y;
}

export type FloatType = "f32" | "bf16" | "f16";

/** What a value becomes when it is stored as dtype. */
export const stored = (dtype: FloatType): ((x: number) => number) => ({ f32: Math.fround, bf16, f16 })[dtype];

/** The CPU's instruction sets. */
export const isas = kernels.isas();

/** Where kernels can be computed: each instruction set of the CPU, and "simt" in the test addon. */
export const targets: string[] = kernels.simt ? [...isas, "simt"] : isas;

/** `it`, for what only the CPU does: on simt there is no such test. */
export const itOnCpu = (target: string): ((name: string, test: () => void) => void) =>
	target === "simt" ? () => undefined : (name, test) => it(name, test);

/** Computes there from now on, until the end of the test. */
export function use(target: string): void {
	kernels.setDevice(target === "simt" ? "simt" : "cpu");
	if (target !== "simt") kernels.setIsa(target);
}

afterEach(() => {
	kernels.setDevice("cpu");
	kernels.simt?.reset();
});

/** One golden file of test/fixtures/hf/ops. */
export async function golden(name: string): Promise<Record<string, Float32Array | Float64Array | Int32Array>> {
	const path = fileURLToPath(new URL(`../fixtures/hf/ops/${name}.safetensors`, import.meta.url));
	const types = { F32: Float32Array, F64: Float64Array, I32: Int32Array } as const;
	const tensors = await readSafetensorsRaw(path);
	return Object.fromEntries(
		[...tensors].map(([key, raw]) => {
			const copy = raw.bytes.slice();
			return [key, new types[raw.dtype as keyof typeof types](copy.buffer)];
		}),
	);
}

/** Creates tensors whose surroundings are poisoned, and checks afterwards that nobody wrote there. */
export class Surroundings {
	private readonly checks: (() => void)[] = [];

	/** Memory margins of NaN. */
	tensor(shape: readonly number[], values?: Numbers, dtype: TensorDtype = "f32"): Tensor {
		const t = kernels.tensor(shape, values === undefined ? undefined : plain(values, dtype), { dtype, guard: true });
		this.checks.push(() => expect(t.checkGuards(), `margins of a tensor [${shape}]`).toBe(true));
		return t;
	}

	/** A matrix that lies within a wider one: NaN columns on both sides, rows unaligned. */
	strided(rows: number, cols: number, values?: Numbers, dtype: FloatType = "f32"): Tensor {
		const [left, right] = [3, 2];
		const width = left + cols + right;
		const outer = this.tensor([rows, width], new Float32Array(rows * width).fill(Number.NaN), dtype);
		const inner = outer.columns(left, cols);
		inner.set(values === undefined ? new Float32Array(rows * cols) : Float32Array.from(values));
		this.checks.push(() => {
			const all = outer.toFloat32Array();
			for (let i = 0; i < all.length; i++) {
				const column = i % width;
				if ((column < left || column >= left + cols) && !Number.isNaN(all[i])) {
					expect.fail(`written beside the view: row ${Math.floor(i / width)}, column ${column - left}`);
				}
			}
		});
		return inner;
	}

	check(): void {
		for (const check of this.checks) check();
	}
}

const plain = (values: Numbers, dtype: TensorDtype): Float32Array | Int32Array =>
	dtype === "i32" ? Int32Array.from(values) : Float32Array.from(values);

export interface Errors {
	max: number;
	rms: number;
}

/** Absolute errors against a reference. NaN anywhere is an infinite error. */
export function errors(actual: Numbers, expected: Numbers): Errors {
	expect(actual.length).toBe(expected.length);
	let max = 0;
	let sum = 0;
	for (let i = 0; i < actual.length; i++) {
		const e = Math.abs((actual[i] as number) - (expected[i] as number));
		if (Number.isNaN(e)) return { max: Number.POSITIVE_INFINITY, rms: Number.POSITIVE_INFINITY };
		max = Math.max(max, e);
		sum += e * e;
	}
	return { max, rms: Math.sqrt(sum / Math.max(1, actual.length)) };
}

const largest = (values: Numbers): number => values.reduce((m: number, x: number) => Math.max(m, Math.abs(x)), 0);

/** Every value within `tolerance` of the reference, relative to the reference's largest value. */
export function expectClose(actual: Numbers, expected: Numbers, tolerance: number, what = ""): void {
	const scale = largest(expected) || 1;
	expect(errors(actual, expected).max / scale, `${what}: largest error over largest value`).toBeLessThanOrEqual(tolerance);
}

/**
 * Not worse than twice a plain loop in the same type: `loop` is the reference's own code, rounded at every operation.
 * @param unit relative size of half a unit in the last place, for results that the loop happens to hit exactly
 */
export function expectTwice(actual: Numbers, exact: Numbers, loop: Numbers, what = "", unit = 2 ** -24): void {
	const ours = errors(actual, exact);
	const theirs = errors(loop, exact);
	const slack = unit * largest(exact);
	expect(ours.rms, `${what}: rms error, the plain loop has ${theirs.rms}`).toBeLessThanOrEqual(2 * theirs.rms + slack);
	expect(ours.max, `${what}: largest error, the plain loop has ${theirs.max}`).toBeLessThanOrEqual(2 * theirs.max + 2 * slack);
}

/** Accesses and meetings that a test on simt may spend on schedules: a second or two. */
const maxWork = 2.6e7;

/** The same bits on repetition and with 1, 2 and 3 threads; on simt with 20 schedules (3 or more if those cost too much). */
export function expectSameBits(run: () => Float32Array[]): void {
	const { simt } = kernels;
	if (simt && kernels.device() === "simt") {
		const before = simt.work();
		const first = run();
		const schedules = Math.max(3, Math.min(20, Math.floor(maxWork / (simt.work() - before))));
		for (let seed = 0; seed < schedules; seed++) {
			simt.setSeed(seed);
			simt.setAsyncMode((["random", "early", "late"] as const)[seed % 3] as "random");
			run().forEach((values, i) => {
				expect(bitsEqual(values, first[i] as Float32Array), `output ${i} with schedule ${seed}`).toBe(true);
			});
		}
		return;
	}
	kernels.setThreads(1);
	const first = run();
	for (const threads of [1, 2, 3]) {
		kernels.setThreads(threads);
		const again = run();
		again.forEach((values, i) => {
			expect(bitsEqual(values, first[i] as Float32Array), `output ${i} with ${threads} threads`).toBe(true);
		});
	}
	kernels.setThreads(0);
}

/** Equal as bits (so that NaN equals itself and -0 is not 0). */
export function bitsEqual(a: Float32Array, b: Float32Array): boolean {
	const x = new Uint32Array(a.buffer, a.byteOffset, a.length);
	const y = new Uint32Array(b.buffer, b.byteOffset, b.length);
	return x.length === y.length && x.every((v, i) => v === y[i]);
}

/** Starts of packed sequences of these lengths. */
export function starts(lengths: readonly number[]): Int32Array {
	let end = 0;
	const all = Int32Array.from([0, ...lengths]);
	return all.map((n) => {
		end += n;
		return end;
	});
}

/** The gradient of f by central differences in double. */
export function numericGradient(f: (x: Float64Array) => number, at: Numbers, step = 1e-5): Float64Array {
	const x = Float64Array.from(at);
	return x.map((value, i) => {
		x[i] = value + step;
		const above = f(x);
		x[i] = value - step;
		const below = f(x);
		x[i] = value;
		return (above - below) / (2 * step);
	});
}

/** sum of a_i b_i */
export const dot = (a: Numbers, b: Numbers): number => {
	let sum = 0;
	for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
	return sum;
};

const computed = new Map<string, unknown>();

/** Computes a reference once for all instruction sets. */
export function once<T>(key: unknown, compute: () => T): T {
	const name = JSON.stringify(key);
	if (!computed.has(name)) computed.set(name, compute());
	return computed.get(name) as T;
}
