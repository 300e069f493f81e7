import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/metrics/random.js";

describe("SeededRandom", () => {
	it("repeats itself by seed and stream, and differs between them", () => {
		const draw = (seed: number, stream?: number) => {
			const random = new SeededRandom(seed, stream);
			return Array.from({ length: 9 }, () => random.next());
		};
		expect(draw(7)).toEqual(draw(7));
		expect(draw(7)).not.toEqual(draw(8));
		expect(draw(7, 1)).not.toEqual(draw(7, 0));
		expect(new Set(draw(7)).size).toBe(9);
	});

	it("draws bounded integers evenly", () => {
		const random = new SeededRandom(1);
		const counts = new Array<number>(7).fill(0);
		for (let i = 0; i < 70_000; i++) counts[random.below(7)]!++;
		const chi2 = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0);
		expect(chi2).toBeLessThan(22.5); // 6 degrees of freedom, p = 0.001
		expect(() => random.below(0)).toThrow(RangeError);
		expect(() => new SeededRandom(-1)).toThrow(RangeError);
	});

	it("shuffles every item once", () => {
		const items = Array.from({ length: 100 }, (_, i) => i);
		const shuffled = new SeededRandom(3).shuffle([...items]);
		expect(shuffled).not.toEqual(items);
		expect([...shuffled].sort((a, b) => a - b)).toEqual(items);
	});
});

it.each([1, 7, 20_547, 3_000_000_000, 4_294_967_295])("below %d: many at once are the same as one after another", (bound) => {
	for (const used of [0, 1, 3]) {
		const [one, many] = [new SeededRandom(5), new SeededRandom(5)];
		for (let i = 0; i < used; i++) expect(many.next()).toBe(one.next());
		const filled = new Uint32Array(101);
		many.fillBelow(bound, filled);
		expect([...filled]).toEqual(Array.from({ length: 101 }, () => one.below(bound)));
		expect(many.next()).toBe(one.next());
	}
	expect(() => new SeededRandom(0).fillBelow(0, new Uint32Array(4))).toThrow(RangeError);
});
