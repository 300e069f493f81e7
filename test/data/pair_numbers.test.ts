import { describe, expect, it } from "vitest";
import { PairNumbers } from "../../src/data/pair_numbers.js";

describe("numbers of pairs", () => {
	it("are given in order, found again, and survive growth", () => {
		const pairs = new PairNumbers();
		const known = new Map<string, number>();
		for (let i = 0; i < 20_000; i++) {
			const [a, b] = [(i * 7919) % 1009, (i * 104_729) % (2 ** 26 - 1)];
			const key = `${a} ${b}`;
			const expected = known.get(key) ?? known.size;
			expect(pairs.get(a, b)).toBe(known.get(key) ?? -1);
			expect(pairs.add(a, b)).toBe(expected);
			known.set(key, expected);
		}
		expect(pairs.size).toBe(known.size);
		expect(pairs.get(2 ** 26 - 1, 2 ** 26 - 1)).toBe(-1);
	});

	it("there are none for what has no number itself", () => {
		const pairs = new PairNumbers();
		expect(pairs.add(-1, 3)).toBe(-1);
		expect(pairs.add(3, -1)).toBe(-1);
		expect(pairs.get(-1, -1)).toBe(-1);
		expect(pairs.size).toBe(0);
	});
});
