/** TF-IDF and the linear models against values worked out by hand and against their own optimality conditions. */
import { describe, expect, it } from "vitest";
import { minimise } from "../../src/metrics/lbfgs.js";
import { logisticRegression, ridgeRegression } from "../../src/metrics/linear_model.js";
import { TfidfVectorizer, wordsAndPairs } from "../../src/metrics/tfidf.js";

describe("TF-IDF", () => {
	it("takes words of two or more characters, and pairs of neighbours", () => {
		expect(wordsAndPairs("A Rate cut, a rate_cut: 5 % Über")).toEqual([
			...["rate", "cut", "rate_cut", "über"],
			...["rate cut", "cut rate_cut", "rate_cut über"],
		]);
	});

	it("weighs by ln((1 + n) / (1 + df)) + 1 and makes rows of length 1", () => {
		const vectorizer = new TfidfVectorizer(["up up", "up down"]);
		const { starts, values } = vectorizer.transform(["up down", "unknown"]);
		// up: df 2, weight 1; down and "up down": df 1, weight ln(3 / 2) + 1.
		const rare = Math.log(1.5) + 1;
		const length = Math.sqrt(1 + 2 * rare * rare);
		expect([...values].sort()).toEqual([1 / length, rare / length, rare / length]);
		expect([...starts]).toEqual([0, 3, 3]);
	});
});

describe("L-BFGS", () => {
	it("finds the minimum of an ill-conditioned bowl", () => {
		const { x, converged } = minimise(
			([a = 0, b = 0], gradient) => {
				gradient[0] = 2 * (a - 3);
				gradient[1] = 2000 * (b + 1);
				return (a - 3) ** 2 + 1000 * (b + 1) ** 2;
			},
			new Float64Array(2),
			{ tolerance: 1e-8 },
		);
		expect(converged).toBe(true);
		expect(x[0]).toBeCloseTo(3, 6);
		expect(x[1]).toBeCloseTo(-1, 6);
	});
});

const column = (values: readonly number[]) => ({
	rows: values.length,
	columns: 1,
	starts: Int32Array.from({ length: values.length + 1 }, (_, i) => i),
	indices: new Int32Array(values.length),
	values: Float64Array.from(values),
});

describe("linear models", () => {
	it("ridge: the closed form of one column, the intercept not penalised", () => {
		// Centred: sum (x - 1)(y - 4) / (sum (x - 1)^2 + 1) = 4 / 3.
		const predict = ridgeRegression(column([0, 1, 2]), [2, 4, 6]);
		expect(predict(column([1]))[0]).toBeCloseTo(4, 5);
		expect(predict(column([2]))[0]).toBeCloseTo(4 + 4 / 3, 5);
	});

	it.each([2, 3])("logistic regression tells %i classes apart, and gives the same answers again", (classes) => {
		const texts = Array.from({ length: 30 }, (_, i) => `word${i % classes} filler${i % 5}`);
		const vectorizer = new TfidfVectorizer(texts);
		const answers = () =>
			logisticRegression(
				vectorizer.transform(texts),
				texts.map((_, i) => i % classes),
				classes,
			)(vectorizer.transform(["word0", "word1", `word${classes - 1} filler4`]));
		expect([...answers()]).toEqual([0, 1, classes - 1]);
		expect(answers()).toEqual(answers());
	});
});
