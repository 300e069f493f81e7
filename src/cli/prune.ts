/**
 * `fintune prune`: deletes old runs beyond the limits that their pipeline (`keep:`) or the command line sets.
 * @module
 */
import type { Command } from "commander";
import { FintuneError } from "../errors.js";
import { Champion } from "../pipeline/champion/champion.js";
import { type Pruned, prune, runsIn } from "../pipeline/champion/retention.js";
import type { KeepConfig } from "../pipeline/schema.js";
import { formatBytes } from "../report/numbers.js";
import { number, wholeNumber } from "./options.js";
import { printJson, terminalProgress } from "./terminal.js";

interface PruneFlags extends KeepConfig {
	dryRun?: boolean;
	json?: boolean;
}

export function addPrune(program: Command): Command {
	return program
		.command("prune")
		.argument("<dir>", "folder of runs")
		.description("delete old runs beyond a limit; never the champion, the one before it, or a run that goes on")
		.option("--runs <n>", "keep at most so many runs of a pipeline (default: keep: of its newest run)", wholeNumber)
		.option("--days <n>", "delete runs whose last event is longer ago", number)
		.option("--gigabytes <n>", "keep at most so much", number)
		.option("--dry-run", "only say what would be deleted")
		.option("--json", "one JSON document on stdout")
		.action(pruneFolder);
}

async function pruneFolder(folder: string, { dryRun = false, json, ...limits }: PruneFlags): Promise<void> {
	const runs = await runsIn(folder);
	const given = Object.keys(limits).length > 0 ? limits : undefined;
	const all: Pruned = { deleted: [], left: [] };
	for (const name of new Set(runs.map((run) => run.name))) {
		const own = runs.filter((run) => run.name === name);
		const keep = given ?? own[0]?.keep;
		if (!keep) {
			throw new FintuneError("E_USAGE", `nothing says how many runs of ${name} to keep`, {
				where: folder,
				expected: "keep: in its pipeline file, or --runs, --days or --gigabytes",
			});
		}
		const champions = [Champion.beside(own[0]!.path)];
		const { deleted, left } = await prune(folder, own, keep, { champions, dryRun, tell: terminalProgress().message });
		all.deleted.push(...deleted);
		all.left.push(...left);
	}
	if (json) {
		const shown = ({ run, why }: Pruned["deleted"][number]) => ({ run: run.path, bytes: run.bytes, time: run.time, why });
		printJson({
			dry_run: dryRun,
			deleted: all.deleted.map(shown),
			left: all.left.map((one) => ({ ...shown(one), because: one.because })),
		});
		return;
	}
	const bytes = formatBytes(all.deleted.reduce((sum, one) => sum + one.run.bytes, 0));
	if (dryRun) for (const { run, why } of all.deleted) process.stdout.write(`would delete ${run.path}: ${why}\n`);
	process.stdout.write(`${dryRun ? "would free" : "freed"} ${bytes} of ${all.deleted.length} runs in ${folder}\n`);
}
