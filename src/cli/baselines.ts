/**
 * `fintune baselines`: what answers without a language model score on a task.
 * @module
 */
import type { Command } from "commander";
import { formatScore } from "../report/numbers.js";
import { formatTable } from "../report/table.js";
import { baselineCacheFolder } from "../tasks/baselines/cache.js";
import { bestBaseline } from "../tasks/baselines/compare.js";
import { trivialBaselines } from "../tasks/baselines/trivial.js";
import { taskDataDirs } from "../tasks/data_dirs.js";
import { taskByName } from "../tasks/registry.js";
import type { Split } from "../tasks/task.js";
import { collect, oneOf } from "./options.js";
import { printJson, terminalWidth } from "./terminal.js";

interface BaselineFlags {
	data: string[];
	split: Split;
	json?: boolean;
}

export function addBaselines(program: Command): Command {
	return program
		.command("baselines")
		.description("score trivial answers to tasks: constants, the majority, a lexicon of train, word counts")
		.argument("<task...>", "task names")
		.option("--data <dir>", "folder with task data (repeatable)", collect, [])
		.option("--split <split>", "train, valid or test", oneOf("train", "valid", "test"), "test")
		.option("--json", "one JSON document on stdout")
		.action(async (names: string[], flags: BaselineFlags) => {
			const results = [];
			for (const name of names) results.push(await baselinesOf(name, flags));
			if (flags.json) return printJson(results.map(({ text: _text, ...document }) => document));
			process.stdout.write(results.map(({ text }) => text).join("\n"));
		});
}

async function baselinesOf(name: string, { data, split }: BaselineFlags) {
	const task = taskByName(name);
	const dirs = taskDataDirs(data);
	const rows = await task.load(split, dirs);
	const report = await trivialBaselines(task, split, rows, dirs, baselineCacheFolder());
	const best = {
		leaderboard: bestBaseline(task, report.baselines, "leaderboard")?.baseline.name ?? null,
		strict: bestBaseline(task, report.baselines, "strict")?.baseline.name ?? null,
	};
	const learnt =
		report.withoutTrain === undefined
			? `learnt from ${report.trainRows} rows; ${report.removed} rows left out that share a text with the scored rows`
			: `nothing could be learnt: ${report.withoutTrain.split("\n")[0]}`;
	const table = formatTable(
		[
			{ header: "baseline", minWidth: 16 },
			{ header: task.headline, align: "right" },
			{ header: "strict", align: "right" },
		],
		report.baselines.map(({ name: baseline, scores }) => [
			`${baseline === best.leaderboard ? "* " : "  "}${baseline}`,
			formatScore(scores.leaderboard[task.headline]),
			formatScore(scores.strict[task.headline]),
		]),
		terminalWidth(),
	);
	return {
		task: task.name,
		split,
		metric: task.headline,
		n: rows.length,
		train_rows: report.trainRows,
		removed: report.removed,
		best,
		baselines: report.baselines.map(({ kind, name: baseline, scores }) => ({
			kind,
			name: baseline,
			leaderboard: scores.leaderboard,
			strict: scores.strict,
		})),
		text: `${task.title} (${split}, n = ${rows.length}; ${learnt})\n${table}`,
	};
}
