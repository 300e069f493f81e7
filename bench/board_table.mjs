/**
 * One table of evaluations of the same rows by two models (or of one): every task by both scorings with intervals, beside
 * the best trivial answers, with the paired test of each pair.
 *
 *     node bench/board_table.mjs --data DIR --before DIR [--after DIR] > table.json
 *
 * Each folder holds evaluations, one a subfolder, as `fintune evaluate --out` leaves them. Rows are scored anew.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { againstBest, bestBaseline, compareOutputs } from "../dist/tasks/baselines/compare.js";
import { trivialBaselines } from "../dist/tasks/baselines/trivial.js";
import { taskDataDirs } from "../dist/tasks/data_dirs.js";
import { taskByName } from "../dist/tasks/registry.js";

const { values } = parseArgs({
	options: { data: { type: "string", multiple: true }, before: { type: "string" }, after: { type: "string" } },
});
const dirs = taskDataDirs(values.data ?? []);

/** Task to its split and rows, from every evaluation below a folder. */
function evaluations(folder) {
	const found = new Map();
	for (const name of folder === undefined ? [] : readdirSync(folder, { withFileTypes: true }).filter((e) => e.isDirectory())) {
		const scores = JSON.parse(readFileSync(join(folder, name.name, "scores.json"), "utf8"));
		for (const [task, { split }] of Object.entries(scores)) {
			const lines = readFileSync(join(folder, name.name, "generations", `${task}.jsonl`), "utf8")
				.trim()
				.split("\n");
			found.set(task, { split, rows: lines.map((line) => JSON.parse(line)) });
		}
	}
	return found;
}

function scored(task, docs, { rows }, baselines) {
	const outputs = rows.map((row) => row.output);
	const scores = task.score(docs, outputs);
	const of = (scoring, interval) => {
		const test = againstBest(task, docs, outputs, baselines, scoring);
		return {
			score: scores[scoring][task.headline] ?? null,
			...(interval ? { low: interval.low, high: interval.high } : {}),
			...(test
				? { against_best_trivial: { difference: test.difference, low: test.low, high: test.high, verdict: test.verdict } }
				: {}),
		};
	};
	const overlong = rows.filter((row) => row.finish_reason === "length").length / rows.length;
	const cut = rows.filter((row) => row.cut).length;
	return {
		leaderboard: of("leaderboard", scores.interval),
		strict: of("strict", scores.strictInterval),
		missing: scores.leaderboard.missing ?? null,
		overlong,
		...(cut > 0 ? { prompts_cut: cut } : {}),
	};
}

const [before, after] = [evaluations(values.before), evaluations(values.after)];
const tasks = [];
for (const [name, first] of before) {
	const task = taskByName(name);
	const docs = first.rows.map((row) => row.doc);
	const rows = first.rows.map(({ query, answer, doc }) => ({ query, answer, doc, source: { file: name, line: 1 } }));
	const { baselines } = await trivialBaselines(task, first.split, rows, dirs);
	const trivial = (scoring) => {
		const best = bestBaseline(task, baselines, scoring);
		return best ? { name: best.baseline.name, score: best.score } : null;
	};
	const second = after.get(name);
	if (second && JSON.stringify(second.rows.map((row) => row.doc)) !== JSON.stringify(docs)) {
		throw new Error(`${name}: the two evaluations are not of the same rows`);
	}
	const gain = second
		? compareOutputs(
				task,
				docs,
				first.rows.map((r) => r.output),
				second.rows.map((r) => r.output),
				"leaderboard",
				["before", "after"],
			)
		: undefined;
	tasks.push({
		task: name,
		split: first.split,
		n: docs.length,
		metric: task.headline,
		best_trivial: { leaderboard: trivial("leaderboard"), strict: trivial("strict") },
		before: scored(task, docs, first, baselines),
		...(second
			? {
					after: scored(task, docs, second, baselines),
					gain: { difference: gain.difference, low: gain.low, high: gain.high, verdict: gain.verdict },
				}
			: {}),
	});
}
process.stdout.write(`${JSON.stringify({ tasks }, null, "\t")}\n`);
