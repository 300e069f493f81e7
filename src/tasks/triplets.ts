/**
 * Rule R of the leaderboard: lines "head ; tail ; relation" of all documents as one set against all gold triplets.
 * @module
 */
import type { CorpusMetric } from "../metrics/bootstrap.js";
import { pyStrip } from "../metrics/pytext.js";
import { afterThinking } from "./answers.js";
import { BoardCrash, listColumn, meanOf, type Prepared, type Scorer } from "./scoring.js";

/** How the strict score of rule R departs from the leaderboard's. */
export const tripletStrictRules =
	"Triplets are compared document by document, so that one predicted for the wrong document is wrong; the answer is what follows " +
	"</think>; lines and their parts are stripped, list marks dropped; lines without two semicolons are not predictions, " +
	"and an answer without any is missing.";

export const ruleR: Scorer = {
	leaderboardMetrics: ["precision", "recall", "f1"],
	strictMetrics: ["precision", "recall", "f1", "missing"],
	leaderboard(docs, outputs) {
		const gold = docs.map((doc, row) => listColumn(doc, "label", row));
		const predicted = outputs.map((output) => output.split("\n"));
		const union = (lists: readonly (readonly string[])[], indices: ArrayLike<number>): Set<string> => {
			const all = new Set<string>();
			for (let i = 0; i < indices.length; i++) for (const item of lists[indices[i] as number] ?? []) all.add(item);
			return all;
		};
		return threeMetrics((indices) => {
			const [g, p] = [union(gold, indices), union(predicted, indices)];
			return { hits: [...p].filter((item) => g.has(item)).length, predicted: p.size, gold: g.size };
		}, true);
	},
	strict(docs, outputs) {
		const counts = docs.map((doc, row) => {
			const gold = new Set(listColumn(doc, "label", row).map(canonical));
			const predicted = new Set((afterThinking(outputs[row] as string) ?? "").split("\n").map(canonical));
			predicted.delete(undefined);
			return { hits: [...predicted].filter((item) => gold.has(item)).length, predicted: predicted.size, gold: gold.size };
		});
		const prepared = threeMetrics((indices) => {
			const sum = { hits: 0, predicted: 0, gold: 0 };
			for (let i = 0; i < indices.length; i++) {
				const c = counts[indices[i] as number];
				sum.hits += c?.hits ?? 0;
				sum.predicted += c?.predicted ?? 0;
				sum.gold += c?.gold ?? 0;
			}
			return sum;
		}, false);
		prepared.aggregates.missing = meanOf(counts.map(({ predicted }) => (predicted === 0 ? 1 : 0)));
		return prepared;
	},
};

function canonical(line: string): string | undefined {
	const parts = pyStrip(line)
		.replace(/^(?:[-*•]|\d+[.)])\s+/u, "")
		.split(";")
		.map(pyStrip);
	return parts.length === 3 && parts.every((part) => part !== "") ? parts.join(" ; ") : undefined;
}

interface Counts {
	hits: number;
	predicted: number;
	gold: number;
}

function threeMetrics(count: (indices: ArrayLike<number>) => Counts, crashes: boolean): Prepared {
	const precision = ({ hits, predicted }: Counts): number => (predicted === 0 ? 0 : hits / predicted);
	const recall = ({ hits, gold }: Counts): number => {
		if (gold === 0 && crashes) throw new BoardCrash("ZeroDivisionError", "there is no gold triplet");
		return gold === 0 ? 0 : hits / gold;
	};
	const f1: CorpusMetric = (indices) => {
		const c = count(indices);
		const [p, r] = [precision(c), recall(c)];
		return p + r === 0 ? 0 : (2 * p * r) / (p + r);
	};
	return { aggregates: { precision: (indices) => precision(count(indices)), recall: (indices) => recall(count(indices)), f1 } };
}
