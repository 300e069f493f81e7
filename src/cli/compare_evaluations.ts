/**
 * `fintune evaluate --compare A B`: two evaluations of the same documents, matched and tested.
 * @module
 */
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { FintuneError, fromSystemError } from "../errors.js";
import { formatP } from "../metrics/significance.js";
import { compareGenerations, type GenerationsComparison } from "../tasks/compare_generations.js";
import { taskByName } from "../tasks/registry.js";
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
		results.push(await compareGenerations(taskByName(task), fileA, fileB));
	}
	if (json) return printJson({ compare: results });
	for (const result of results) process.stdout.write(`${comparisonText(result)}\n`);
}

/** What the tests of one task say, in lines. */
export function comparisonText({ task, metric, n, leaderboard, strict, mcnemar }: GenerationsComparison): string {
	const lines = [
		`${task} (${metric}, n = ${n})`,
		`  leaderboard: ${leaderboard?.sentence ?? "the metric is not defined"}`,
		`  strict: ${strict?.sentence ?? "the metric is not defined"}`,
	];
	if (mcnemar) {
		const counts = `right only in A ${mcnemar.onlyFirst}, only in B ${mcnemar.onlySecond}`;
		lines.push(`  McNemar: ${counts}, ${formatP(mcnemar.pValue)}`);
	}
	return lines.join("\n");
}

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
