/**
 * Two files of generations of the same documents, matched and tested.
 * @module
 */
import { FintuneError } from "../errors.js";
import type { McNemar } from "../metrics/significance.js";
import { type Comparison, compareOutputs, rightOrWrong } from "./baselines/compare.js";
import { type GenerationRow, parseGenerations } from "./evaluate_generations.js";
import { readText } from "./files.js";
import type { Task } from "./task.js";

/** The paired tests of two systems on the same documents of a task. */
export interface GenerationsComparison {
	task: string;
	/** The task's shown metric. */
	metric: string;
	n: number;
	/** By both ways of scoring; null where the metric is not defined for one of the two. */
	leaderboard: Comparison | null;
	strict: Comparison | null;
	/** Where answers are right or wrong. */
	mcnemar: McNemar | null;
}

/**
 * Matches two files of generations by their documents, and tests whether the systems differ.
 * @throws FintuneError E_SCORING where the documents are not the same
 */
export async function compareGenerations(task: Task, fileA: string, fileB: string): Promise<GenerationsComparison> {
	const [rowsA, rowsB] = [await readRows(fileA), await readRows(fileB)];
	const matched = matchDocuments(rowsA, rowsB, fileA, fileB);
	const docs = rowsA.map((row) => row.doc);
	const [a, b] = [rowsA.map((row) => row.output), matched.map((row) => row.output)];
	const test = (scoring: "leaderboard" | "strict") => compareOutputs(task, docs, a, b, scoring, ["A", "B"]) ?? null;
	return {
		task: task.name,
		metric: task.headline,
		n: docs.length,
		leaderboard: test("leaderboard"),
		strict: test("strict"),
		mcnemar: rightOrWrong(task, docs, a, b) ?? null,
	};
}

async function readRows(file: string): Promise<GenerationRow[]> {
	const rows = parseGenerations(await readText(file), file);
	if (rows.length === 0) throw new FintuneError("E_DATA_EMPTY", "has no generations", { where: file });
	return rows;
}

/** The rows of `second` in the order of `first`: documents are the same where all their columns are. */
function matchDocuments(
	first: readonly GenerationRow[],
	second: readonly GenerationRow[],
	a: string,
	b: string,
): GenerationRow[] {
	const open = new Map<string, GenerationRow[]>();
	for (const row of second) {
		const key = documentKey(row.doc);
		const known = open.get(key);
		if (known) known.push(row);
		else open.set(key, [row]);
	}
	const lonely: GenerationRow[] = [];
	const matched = first.flatMap((row) => {
		const partner = open.get(documentKey(row.doc))?.shift();
		if (partner) return [partner];
		lonely.push(row);
		return [];
	});
	const others = [...open.values()].flat();
	if (lonely.length > 0 || others.length > 0) {
		throw new FintuneError("E_SCORING", "the two evaluations are not of the same documents", {
			where: (lonely[0] ?? others[0])?.where ?? a,
			expected: "every document of one in the other, once for once",
			found: `${lonely.length} only in ${a}, ${others.length} only in ${b}; the first of them is named above`,
			hint: "evaluate both with the same split, limit and seed",
		});
	}
	return matched;
}

/** A document's columns in one order, so that two files may write them in different ones. */
const documentKey = (doc: Record<string, unknown>): string =>
	JSON.stringify(Object.entries(doc).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
