/**
 * Tensors of one benchmark: filled with seeded random numbers, and freed together.
 * @module
 */
import { kernels, type ProductDtype, type Tensor } from "../engine/kernels.js";
import { SeededRandom } from "../metrics/random.js";

/**
 * Random values are drawn once and repeated with this period: no power of two and no width of a model, so that neither
 * rows nor tiles are alike, and a tensor of a gigabyte is filled at the speed of memory.
 */
const period = 262_139;

/** Tensors that are freed together. */
export class BenchTensors {
	readonly #all: Tensor[] = [];
	readonly #seed: number;
	#count = 0;

	constructor(seed = 0) {
		this.#seed = seed;
	}

	/** Frees it with the others. */
	keep(tensor: Tensor): Tensor {
		this.#all.push(tensor);
		return tensor;
	}

	zeros(shape: readonly number[], dtype: ProductDtype = "f32"): Tensor {
		return this.keep(kernels.tensor(shape, undefined, { dtype }));
	}

	/** Normal values: those of a benchmark are never zeros, on which hardware is faster than on numbers. */
	normal(shape: readonly number[], dtype: ProductDtype = "f32", std = 1): Tensor {
		const size = shape.reduce((a, b) => a * b, 1);
		const values = normalValues(this.#seed, this.#count++, Math.min(size, period), std);
		const typed = dtype === "f32" ? values : Uint16Array.from(values, dtype === "bf16" ? bf16Bits : f16Bits);
		return this.keep(kernels.tensor(shape, repeated(typed, size), { dtype }));
	}

	/** Whole numbers of 0 .. bound-1. */
	indices(count: number, bound: number): Tensor {
		const random = new SeededRandom(this.#seed, 0x80000000 + this.#count++);
		return this.ints(Int32Array.from({ length: count }, () => random.below(bound)));
	}

	ints(values: Int32Array): Tensor {
		return this.keep(kernels.tensor([values.length], values));
	}

	fill(shape: readonly number[], value: number): Tensor {
		const size = shape.reduce((a, b) => a * b, 1);
		return this.keep(kernels.tensor(shape, new Float32Array(size).fill(value)));
	}

	dispose(): void {
		for (const tensor of this.#all.splice(0)) tensor.dispose();
	}
}

/** Box and Muller 1958, two values a pair of draws. */
export function normalValues(seed: number, stream: number, count: number, std = 1): Float32Array {
	const random = new SeededRandom(seed, stream);
	const values = new Float32Array(count);
	for (let i = 0; i < count; i += 2) {
		const radius = std * Math.sqrt(-2 * Math.log(1 - random.uniform()));
		const angle = 2 * Math.PI * random.uniform();
		values[i] = radius * Math.cos(angle);
		if (i + 1 < count) values[i + 1] = radius * Math.sin(angle);
	}
	return values;
}

/** `values` again and again, `size` in all. */
function repeated<T extends Float32Array | Uint16Array>(values: T, size: number): T {
	if (values.length >= size) return values;
	const all = new (values.constructor as new (n: number) => T)(size);
	all.set(values);
	for (let done = values.length; done < size; done *= 2) all.copyWithin(done, 0, Math.min(done, size - done));
	return all;
}

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** Bits of the nearest bf16, ties to even (finite numbers). */
export function bf16Bits(x: number): number {
	float[0] = x;
	const bits = word[0] as number;
	return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Bits of the nearest f16, ties to even (finite numbers below 65,520). */
export function f16Bits(x: number): number {
	const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
	const size = Math.abs(x);
	// Below 2^-14 the spacing stays 2^-24; above, ten bits lie behind the leading one.
	const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
	const steps = roundEven(size * 2 ** (10 - exponent));
	if (size < 2 ** -14) return sign | steps;
	return sign | (((exponent + 14) << 10) + steps);
}

function roundEven(x: number): number {
	const down = Math.floor(x);
	const rest = x - down;
	return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}
