/**
 * `fintune evaluate --compare A B`: two evaluations of the same documents, matched and tested.
 * @module
 */
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { FintuneError, fromSystemError } from "../errors.js";
import { formatP } from "../metrics/significance.js";
import { compareOutputs, rightOrWrong } from "../tasks/baselines/compare.js";
import { type GenerationRow, parseGenerations } from "../tasks/evaluate_generations.js";
import { readText } from "../tasks/files.js";
import { taskByName } from "../tasks/registry.js";
import type { Task } from "../tasks/task.js";
import { printJson } from "./terminal.js";

/** Compares every task that both have (or those named). */
export async function compareEvaluations(a: string, b: string, names: readonly string[], json: boolean): Promise<void> {
	const [first, second] = [await generationFiles(a, names), await generationFiles(b, names)];
	const tasks = names.length > 0 ? names.map((name) => taskByName(name).name) : [...first.keys()].filter((t) => second.has(t));
	if (tasks.length === 0) {
		throw new FintuneError("E_USAGE", "the two evaluations have no task in common", {
			expected: [...first.keys()].join(", "),
			found: [...second.keys()].join(", "),
		});
	}
	const results = [];
	for (const task of tasks) {
		const [fileA, fileB] = [first.get(task), second.get(task)];
		if (fileA === undefined || fileB === undefined) {
			throw new FintuneError("E_NOT_FOUND", `has no generations of the task ${task}`, { where: fileA === undefined ? a : b });
		}
		results.push(await compareFiles(taskByName(task), fileA, fileB));
	}
	if (json) return printJson({ compare: results });
	for (const { task, metric, n, leaderboard, strict, mcnemar } of results) {
		process.stdout.write(`${task} (${metric}, n = ${n})\n`);
		process.stdout.write(`  leaderboard: ${leaderboard?.sentence ?? "the metric is not defined"}\n`);
		process.stdout.write(`  strict: ${strict?.sentence ?? "the metric is not defined"}\n`);
		if (mcnemar) {
			const counts = `right only in A ${mcnemar.onlyFirst}, only in B ${mcnemar.onlySecond}`;
			process.stdout.write(`  McNemar: ${counts}, ${formatP(mcnemar.pValue)}\n`);
		}
	}
}

async function compareFiles(task: Task, fileA: string, fileB: string) {
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

/** Task to its file of generations: of a file, an evaluation's folder, or a run with one evaluate stage. */
async function generationFiles(path: string, names: readonly string[]): Promise<Map<string, string>> {
	try {
		if (!(await stat(path)).isDirectory()) {
			const name = names.length === 1 ? (names[0] as string) : basename(path).replace(/\.jsonl(?:\.gz)?$/, "");
			return new Map([[taskByName(name).name, path]]);
		}
		const folder = await evaluationFolder(path);
		const files = (await readdir(join(folder, "generations"))).filter((name) => /^[^.]+\.jsonl$/.test(name)).sort();
		return new Map(files.map((name) => [name.replace(/\.jsonl$/, ""), join(folder, "generations", name)]));
	} catch (error) {
		throw error instanceof FintuneError ? error : fromSystemError(error, path);
	}
}

async function evaluationFolder(path: string): Promise<string> {
	const has = async (folder: string): Promise<boolean> => {
		const found = await stat(join(folder, "generations")).catch(() => undefined);
		return found?.isDirectory() ?? false;
	};
	if (await has(path)) return path;
	const stages = await readdir(join(path, "stages")).catch(() => []);
	const found: string[] = [];
	for (const stage of stages.sort()) if (await has(join(path, "stages", stage))) found.push(join(path, "stages", stage));
	if (found.length === 1) return found[0] as string;
	throw new FintuneError(found.length === 0 ? "E_NOT_FOUND" : "E_USAGE", "is not one evaluation", {
		where: path,
		expected: "a folder with generations/, a run with one evaluate stage, or a file of generations",
		found: found.length === 0 ? "no generations" : `the evaluations ${found.join(", ")}`,
		hint: found.length === 0 ? "name the folder given as --out, or RUN/stages/NAME" : "name one of them",
	});
}
