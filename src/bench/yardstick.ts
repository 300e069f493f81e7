/**
 * What a device can do at best, measured in the same rounds as everything else: one large square product without
 * anything around it, and one large copy.
 * @module
 */
import { kernels, type ProductDtype } from "../engine/kernels.js";
import { shapeText } from "./op.js";
import { BenchTensors } from "./tensors.js";
import type { TimedCase } from "./timing.js";

/** How large they are. */
export interface YardstickSize {
	/** Rows and columns of the square product's factors. */
	product: number;
	/** Bytes copied; as many are read and as many written. */
	copy: number;
	/** Bytes copied before every timed run, to empty the caches. */
	chill: number;
}

/** Large enough that a launch and the edges of tiles do not count, small enough to be repeated every round. */
export function yardstickSize(kind: "cpu" | "cuda" | "simt", threads: number): YardstickSize {
	if (kind === "cuda") return { product: 8192, copy: 2 ** 30, chill: 2 ** 28 };
	if (kind === "simt") return { product: 64, copy: 2 ** 12, chill: 0 };
	return { product: 1024 * Math.ceil(Math.sqrt(Math.min(threads, 64))), copy: 2 ** 27, chill: 2 ** 26 };
}

export interface Yardstick extends TimedCase {
	shape: string;
	flops: number;
	bytes: number;
}

/** The two yardsticks on one device, in one type. */
export class Yardsticks {
	readonly #tensors = new BenchTensors(1);
	readonly product: Yardstick;
	readonly copy: Yardstick;
	/** Empties the caches; undefined where there is nothing to empty. */
	readonly chill: (() => void) | undefined;

	constructor(
		readonly dtype: ProductDtype,
		size: YardstickSize,
	) {
		const m = size.product;
		const t = this.#tensors;
		const [x, weight, y] = [t.normal([m, m], dtype), t.normal([m, m], dtype), t.zeros([m, m], dtype)];
		this.product = {
			shape: shapeText({ M: m }),
			flops: 2 * m ** 3,
			bytes: 3 * m * m * (dtype === "f32" ? 4 : 2),
			run: () => kernels.loraLinear(x, weight, { compute: dtype, y }),
		};
		const copying = (bytes: number) => {
			const [from, to] = [t.normal([bytes / 4]), t.zeros([bytes / 4])];
			return () => kernels.copy(from, to);
		};
		this.copy = { shape: shapeText({ BYTES: size.copy }), flops: 0, bytes: 2 * size.copy, run: copying(size.copy) };
		this.chill = size.chill > 0 ? copying(size.chill) : undefined;
	}

	dispose(): void {
		this.#tensors.dispose();
	}
}
