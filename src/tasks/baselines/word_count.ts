/**
 * Counting words: TF-IDF of words and word pairs under a linear model, fitted on train.
 * @module
 */
import { logisticRegression, ridgeRegression } from "../../metrics/linear_model.js";
import { type SparseRows, TfidfVectorizer } from "../../metrics/tfidf.js";
import { rowText } from "../splits.js";
import type { TaskRow } from "../task.js";

/** Vectors of train and test texts; questions about the same texts (Headlines) share them. */
function vectors(): (train: readonly TaskRow[], test: readonly TaskRow[]) => { train: SparseRows; test: SparseRows } {
	let known: { texts: string[]; train: SparseRows; test: SparseRows } | undefined;
	return (train, test) => {
		const texts = [...train, ...test].map(rowText);
		if (known && known.train.rows === train.length && texts.every((text, i) => text === known?.texts[i])) return known;
		const vectorizer = new TfidfVectorizer(texts.slice(0, train.length));
		known = {
			texts,
			train: vectorizer.transform(texts.slice(0, train.length)),
			test: vectorizer.transform(texts.slice(train.length)),
		};
		return known;
	};
}

/** A function that fits a classifier on some rows' answers and answers others. */
export function wordCountClassifier(): (train: readonly TaskRow[], test: readonly TaskRow[]) => string[] {
	const vectorise = vectors();
	return (train, test) => {
		const classes = [...new Set(train.map((row) => row.answer))].sort();
		if (classes.length < 2) return test.map(() => classes[0] ?? "");
		const number = new Map(classes.map((name, i) => [name, i]));
		const x = vectorise(train, test);
		const labels = Int32Array.from(train, (row) => number.get(row.answer) as number);
		return Array.from(logisticRegression(x.train, labels, classes.length)(x.test), (k) => classes[k] as string);
	};
}

/** Predicted numbers of rows whose answer is one. */
export function wordCountRegression(train: readonly TaskRow[], test: readonly TaskRow[]): Float64Array {
	const x = vectors()(train, test);
	return ridgeRegression(
		x.train,
		train.map((row) => Number(row.answer)),
	)(x.test);
}
