/** The leaderboard's means, and what is mixed into them. */
import { expect, it } from "vitest";
import { averages, shownValue } from "../../src/tasks/averages.js";
import { taskByName } from "../../src/tasks/registry.js";

const scored = (name: string, value: number | null) => ({ task: taskByName(name), value });

it("a category is the mean of its tasks, risk tasks shifted, the overall mean of raw values", () => {
	const result = averages([
		scored("fpb", 0.5),
		scored("fomc", 0.7),
		scored("german", -0.2),
		scored("ccf", 0.4),
		scored("ner", null),
	]);
	expect(result.categories.map(({ category, mean, tasks }) => [category, mean, tasks])).toEqual([
		["TA", expect.closeTo(60), ["fpb", "fomc"]],
		["RM", expect.closeTo((40 + 70) / 2), ["german", "ccf"]],
	]);
	expect(result.overall).toBeCloseTo((50 + 70 - 20 + 40) / 4);
	expect(result.errorsAmongScores).toEqual([]);
	expect(result.overallWithoutErrors).toBeCloseTo(result.overall);
});

it("an error among the scores is named, and the mean without it given", () => {
	const result = averages([scored("fpb", 0.5), scored("tsa", 0.4)]);
	expect(result.overall).toBeCloseTo(45);
	expect(result).toMatchObject({ errorsAmongScores: ["tsa"], overallWithoutErrors: 50 });
});

it("nothing scored has no mean", () => {
	expect(averages([scored("fpb", null)])).toEqual({
		categories: [],
		overall: Number.NaN,
		errorsAmongScores: [],
		overallWithoutErrors: Number.NaN,
	});
	expect(shownValue(taskByName("german"), 0)).toBe(50);
});
