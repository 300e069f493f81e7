import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { planSteps } from "../../src/stages/step_plan.js";

const config = { batch_size: 4, shuffle: false, max_steps: undefined, num_train_epochs: undefined };
const items = (n: number) => Array.from({ length: n }, (_, i) => i);
const plan = (n: number, change: object = {}, seed = 1, draw?: (epoch: number) => readonly number[]) => {
	const { totalSteps, steps } = planSteps({ items: items(n), ...(draw ? { draw } : {}) }, { ...config, ...change }, seed);
	return { totalSteps, steps: [...steps()] };
};

describe("planSteps", () => {
	it("goes through the rows once in their order, and keeps a last smaller batch", () => {
		const { totalSteps, steps } = plan(10);
		expect(totalSteps).toBe(3);
		expect(steps.map((s) => s.items)).toEqual([
			[0, 1, 2, 3],
			[4, 5, 6, 7],
			[8, 9],
		]);
		expect(steps.map((s) => s.epoch)).toEqual([0.4, 0.8, 1]);
	});

	it.each([
		[{ num_train_epochs: 2 }, 6],
		[{ num_train_epochs: 0.5 }, 2],
		[{ num_train_epochs: 1.5 }, 5],
		[{ max_steps: 1 }, 1],
		[{ max_steps: 7 }, 7],
	])("%j of three batches an epoch: %d steps, as transformers counts", (change, count) => {
		const { totalSteps, steps } = plan(10, change);
		expect(totalSteps).toBe(count);
		expect(steps).toHaveLength(count);
	});

	it("begins an epoch anew after a smaller batch", () => {
		const { steps } = plan(5, { max_steps: 4 });
		expect(steps.map((s) => s.items)).toEqual([[0, 1, 2, 3], [4], [0, 1, 2, 3], [4]]);
		expect(steps.map((s) => s.epoch)).toEqual([0.8, 1, 1.8, 2]);
	});

	it("shuffles each epoch by the seed alone", () => {
		const change = { shuffle: true, num_train_epochs: 2, batch_size: 50 };
		const [first, second] = plan(50, change).steps.map((s) => s.items);
		expect(first).not.toEqual(items(50));
		expect(second).not.toEqual(first);
		expect([...first!].sort((a, b) => a - b)).toEqual(items(50));
		expect(plan(50, change).steps[0]!.items).toEqual(first);
		expect(plan(50, change, 2).steps[0]!.items).not.toEqual(first);
	});

	it("draws what the mixing says, epoch by epoch", () => {
		const draw = (epoch: number) => (epoch === 0 ? [0, 0, 5] : [7, 1, 1]);
		const { steps } = plan(8, { batch_size: 2, num_train_epochs: 2 }, 1, draw);
		expect(steps.map((s) => s.items)).toEqual([[0, 0], [5], [7, 1], [1]]);
	});

	it("has no step where there is no row", () => {
		expect(plan(0)).toEqual({ totalSteps: 0, steps: [] });
		expect(plan(0, { max_steps: 3 })).toEqual({ totalSteps: 0, steps: [] });
	});

	it("uses every row exactly once an epoch, whatever the sizes", () => {
		fc.assert(
			fc.property(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 20 }), fc.boolean(), (n, size, shuffle) => {
				const { totalSteps, steps } = plan(n, { batch_size: size, shuffle, num_train_epochs: 2 });
				expect(steps).toHaveLength(totalSteps);
				const perEpoch = totalSteps / 2;
				for (const epoch of [0, 1]) {
					const seen = steps.slice(epoch * perEpoch, (epoch + 1) * perEpoch).flatMap((s) => s.items);
					expect(seen.sort((a, b) => a - b)).toEqual(items(n));
				}
				expect(steps.at(-1)!.epoch).toBe(2);
			}),
			{ numRuns: 100 },
		);
	});
});
