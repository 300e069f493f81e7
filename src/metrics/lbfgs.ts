/**
 * Minimises a smooth convex function of many variables with limited memory: L-BFGS (Nocedal & Wright 2006, algorithms 7.4
 * and 7.5) with a backtracking line search. Nothing in it is random, so equal inputs give equal bits.
 * @module
 */

/** The function's value at x; its gradient is written into `gradient`. */
export type Objective = (x: Float64Array, gradient: Float64Array) => number;

export interface MinimiseOptions {
	/** Default 200. */
	maxIterations?: number;
	/** Stops where no part of the gradient is larger. Default 1e-4. */
	tolerance?: number;
	/** Pairs of steps and gradient changes that are remembered. Default 10. */
	memory?: number;
}

export interface Minimum {
	x: Float64Array;
	value: number;
	iterations: number;
	/** False where the iterations ran out first. */
	converged: boolean;
}

/** @param start where the search begins; it is not changed */
export function minimise(objective: Objective, start: Float64Array, options: MinimiseOptions = {}): Minimum {
	const { maxIterations = 200, tolerance = 1e-4, memory = 10 } = options;
	let x = start.slice();
	let gradient = new Float64Array(x.length);
	let value = objective(x, gradient);
	const pairs: { step: Float64Array; change: Float64Array; scale: number }[] = [];
	for (let iteration = 0; iteration < maxIterations; iteration++) {
		if (largest(gradient) <= tolerance) return { x, value, iterations: iteration, converged: true };
		const direction = descent(gradient, pairs);
		let slope = dot(direction, gradient);
		if (slope >= 0) {
			// Rounding has spoilt the memory: begin again along the gradient.
			pairs.length = 0;
			direction.set(gradient.map((g) => -g));
			slope = dot(direction, gradient);
		}
		let length = pairs.length === 0 ? 1 / Math.max(1, Math.sqrt(-slope)) : 1;
		const next = new Float64Array(x.length);
		const nextGradient = new Float64Array(x.length);
		let nextValue = Number.POSITIVE_INFINITY;
		for (let halvings = 0; halvings < 40; halvings++) {
			for (let i = 0; i < x.length; i++) next[i] = (x[i] as number) + length * (direction[i] as number);
			nextValue = objective(next, nextGradient);
			if (nextValue <= value + 1e-4 * length * slope) break;
			length /= 2;
		}
		if (!(nextValue < value)) return { x, value, iterations: iteration, converged: largest(gradient) <= tolerance };
		const step = next.map((v, i) => v - (x[i] as number));
		const change = nextGradient.map((v, i) => v - (gradient[i] as number));
		const curvature = dot(step, change);
		if (curvature > 1e-12 * dot(change, change)) {
			pairs.push({ step, change, scale: 1 / curvature });
			if (pairs.length > memory) pairs.shift();
		}
		x = next;
		gradient = nextGradient;
		value = nextValue;
	}
	return { x, value, iterations: maxIterations, converged: largest(gradient) <= tolerance };
}

/** Minus the approximate inverse Hessian times the gradient, by the two loops of algorithm 7.4. */
function descent(
	gradient: Float64Array,
	pairs: readonly { step: Float64Array; change: Float64Array; scale: number }[],
): Float64Array {
	const q = gradient.map((g) => -g);
	const alphas: number[] = [];
	for (let k = pairs.length - 1; k >= 0; k--) {
		const { step, change, scale } = pairs[k]!;
		const alpha = scale * dot(step, q);
		alphas[k] = alpha;
		addScaled(q, change, -alpha);
	}
	const newest = pairs.at(-1);
	if (newest) {
		const gamma = 1 / (newest.scale * dot(newest.change, newest.change));
		for (let i = 0; i < q.length; i++) q[i] = (q[i] as number) * gamma;
	}
	for (const [k, { step, change, scale }] of pairs.entries()) addScaled(q, step, (alphas[k] as number) - scale * dot(change, q));
	return q;
}

function dot(a: Float64Array, b: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
	return sum;
}

function addScaled(target: Float64Array, source: Float64Array, scale: number): void {
	for (let i = 0; i < target.length; i++) target[i] = (target[i] as number) + scale * (source[i] as number);
}

function largest(values: Float64Array): number {
	let most = 0;
	for (const value of values) most = Math.max(most, Math.abs(value));
	return most;
}
