import { expect, it } from "vitest";
import { numpyPermutation, trainTestSplit } from "../../src/metrics/numpy_random.js";

it("permutes as numpy.random.RandomState does", () => {
	expect(numpyPermutation(10, 42)).toEqual([8, 1, 5, 0, 7, 2, 9, 4, 3, 6]);
	expect(numpyPermutation(700, 5768).slice(0, 12)).toEqual([372, 495, 331, 482, 430, 351, 414, 205, 95, 238, 559, 653]);
	expect(numpyPermutation(2000, 4294967295).slice(-5)).toEqual([1972, 1095, 1036, 290, 419]);
	expect(numpyPermutation(1, 0)).toEqual([0]);
	expect(numpyPermutation(0, 0)).toEqual([]);
});

it("splits as scikit-learn does: the first of the permutation are the test", () => {
	const items = [..."abcdefghij"];
	expect(trainTestSplit(items, 3, 42)).toEqual({ test: [..."ibf"], train: [..."ahcjedg"] });
});
