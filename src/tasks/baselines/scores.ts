/**
 * Trivial answers to a task whose answer is a score from -1 to 1.
 * @module
 */
import { always, type BaselineMaker, type TrivialBaseline } from "./baseline.js";
import { wordCountRegression } from "./word_count.js";

/** Always 0, always the mean of train, and word counts under ridge regression. */
export const scoreBaselines: BaselineMaker = (train, test) => {
	const found: TrivialBaseline[] = [always("constant", "0", test, "always 0")];
	if (train.length === 0) return found;
	const mean = (train.reduce((sum, row) => sum + Number(row.answer), 0) / train.length).toFixed(3);
	if (Number(mean) !== 0) found.push(always("majority", mean, test, `always ${mean}, the mean of train`));
	const predicted = wordCountRegression(train, test);
	found.push({
		kind: "word-count",
		name: "word counts (TF-IDF, ridge regression)",
		outputs: Array.from(predicted, (value) => Math.max(-1, Math.min(1, value)).toFixed(3)),
	});
	return found;
};
