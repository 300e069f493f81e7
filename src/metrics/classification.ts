/**
 * Accuracy, F1 and Matthews correlation from counts per class. Everything follows from three numbers a class (hits,
 * gold, predicted), so a bootstrap resample only has to count again.
 * @module
 */

/** Single-label results of a corpus; classes are numbered 0..classes-1, and not every class needs to occur in the gold. */
export interface LabelPairs {
	gold: ArrayLike<number>;
	predicted: ArrayLike<number>;
	classes: number;
}

/** Counts of one multiset of documents. */
export interface ClassCounts {
	n: number;
	hits: Float64Array;
	gold: Float64Array;
	predicted: Float64Array;
}

/** Numbers label strings in order of first appearance, gold first. */
export function encodeLabels(gold: readonly string[], predicted: readonly string[]): LabelPairs & { names: string[] } {
	const numbers = new Map<string, number>();
	const numberOf = (name: string): number => {
		let number = numbers.get(name);
		if (number === undefined) {
			number = numbers.size;
			numbers.set(name, number);
		}
		return number;
	};
	const goldNumbers = Int32Array.from(gold, numberOf);
	const predictedNumbers = Int32Array.from(predicted, numberOf);
	return { gold: goldNumbers, predicted: predictedNumbers, classes: numbers.size, names: [...numbers.keys()] };
}

/** How often each answer was given for each gold label; rows are gold labels, columns answers. */
export interface ConfusionMatrix {
	gold: string[];
	predicted: string[];
	/** counts[g][p] */
	counts: number[][];
}

/** Labels in order of first appearance. */
export function confusionMatrix(gold: readonly string[], predicted: readonly string[]): ConfusionMatrix {
	const rows = [...new Set(gold)];
	const columns = [...new Set([...gold, ...predicted])];
	const counts = rows.map(() => columns.map(() => 0));
	const [rowOf, columnOf] = [rows, columns].map((names) => new Map(names.map((name, i) => [name, i])));
	for (const [i, name] of gold.entries()) {
		const row = counts[rowOf?.get(name) as number] as number[];
		const column = columnOf?.get(predicted[i] as string) as number;
		row[column] = (row[column] as number) + 1;
	}
	return { gold: rows, predicted: columns, counts };
}

/** Counts over `indices` (repeats count again). */
export function countClasses(pairs: LabelPairs, indices: ArrayLike<number>): ClassCounts {
	const hits = new Float64Array(pairs.classes);
	const gold = new Float64Array(pairs.classes);
	const predicted = new Float64Array(pairs.classes);
	for (let i = 0; i < indices.length; i++) {
		const row = indices[i] as number;
		const g = pairs.gold[row] as number;
		const p = pairs.predicted[row] as number;
		gold[g] = (gold[g] as number) + 1;
		predicted[p] = (predicted[p] as number) + 1;
		if (g === p) hits[g] = (hits[g] as number) + 1;
	}
	return { n: indices.length, hits, gold, predicted };
}

export function accuracy(counts: ClassCounts): number {
	return counts.hits.reduce((sum, hit) => sum + hit, 0) / counts.n;
}

/**
 * F1 per class that occurs in the gold, averaged by support (`weighted`) or equally (`macro`); scikit-learn's
 * `f1_score(labels=<labels of the gold>, zero_division=0)`. A prediction that is nobody's gold lowers recall only.
 */
export function averageF1(counts: ClassCounts, average: "weighted" | "macro"): number {
	let sum = 0;
	let weights = 0;
	for (let c = 0; c < counts.gold.length; c++) {
		const support = counts.gold[c] as number;
		if (support === 0) continue;
		const weight = average === "weighted" ? support : 1;
		sum += (weight * 2 * (counts.hits[c] as number)) / (support + (counts.predicted[c] as number));
		weights += weight;
	}
	return weights === 0 ? 0 : sum / weights;
}

/**
 * Multi-class Matthews correlation (Gorodkin 2004, eq. 8). 0 where one side is constant.
 * @param others what happens to predictions of classes that are nobody's gold: `merged` into one further class, as the
 *   leaderboard does, or each a class of its own
 */
export function matthews(counts: ClassCounts, others: "merged" | "apart"): number {
	let hits = 0;
	let cross = 0;
	let goldSquares = 0;
	let predictedSquares = 0;
	let strangers = 0;
	for (let c = 0; c < counts.gold.length; c++) {
		const g = counts.gold[c] as number;
		const p = counts.predicted[c] as number;
		hits += counts.hits[c] as number;
		cross += g * p;
		goldSquares += g * g;
		if (g === 0 && others === "merged") strangers += p;
		else predictedSquares += p * p;
	}
	predictedSquares += strangers * strangers;
	const n2 = counts.n * counts.n;
	const denominator = Math.sqrt((n2 - goldSquares) * (n2 - predictedSquares));
	return denominator === 0 ? 0 : (hits * counts.n - cross) / denominator;
}
