/**
 * ROUGE (Lin 2004) as Google's rouge-score computes it without stemming: words are runs of a-z and 0-9 after lower-casing,
 * ROUGE-L takes the longest common subsequence of the whole texts.
 * @module
 */

export const rougeKinds = ["rouge1", "rouge2", "rougeL"] as const;
export type RougeKind = (typeof rougeKinds)[number];

/** The words that ROUGE sees. */
export const rougeWords = (text: string): string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? [];

/** F measures of a prediction against a target, each in 0..1; 0 where either has no words (for rouge2: no pairs). */
export function rouge(target: string, prediction: string): Record<RougeKind, number> {
	const [t, p] = [rougeWords(target), rougeWords(prediction)];
	return {
		rouge1: overlapF(ngrams(t, 1), ngrams(p, 1)),
		rouge2: overlapF(ngrams(t, 2), ngrams(p, 2)),
		rougeL: t.length === 0 || p.length === 0 ? 0 : fMeasure(longestCommonSubsequence(t, p), p.length, t.length),
	};
}

function ngrams(words: readonly string[], n: number): Map<string, number> {
	const counts = new Map<string, number>();
	for (let i = 0; i + n <= words.length; i++) {
		const gram = words.slice(i, i + n).join(" ");
		counts.set(gram, (counts.get(gram) ?? 0) + 1);
	}
	return counts;
}

const total = (counts: Map<string, number>): number => [...counts.values()].reduce((a, b) => a + b, 0);

function overlapF(target: Map<string, number>, prediction: Map<string, number>): number {
	let hits = 0;
	for (const [gram, count] of target) hits += Math.min(count, prediction.get(gram) ?? 0);
	return fMeasure(hits, Math.max(total(prediction), 1), Math.max(total(target), 1));
}

function fMeasure(hits: number, predicted: number, wanted: number): number {
	const [precision, recall] = [hits / predicted, hits / wanted];
	return precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0;
}

/** Length of the longest common subsequence; two rows of the table at a time. */
export function longestCommonSubsequence(a: readonly string[], b: readonly string[]): number {
	let above = new Uint32Array(b.length + 1);
	let row = new Uint32Array(b.length + 1);
	for (const word of a) {
		for (let j = 1; j <= b.length; j++) {
			row[j] = word === b[j - 1] ? (above[j - 1] as number) + 1 : Math.max(above[j] as number, row[j - 1] as number);
		}
		[above, row] = [row, above];
	}
	return above[b.length] as number;
}
