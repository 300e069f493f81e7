/**
 * `fintune champion`: the best run of a pipeline and how it came to be that; `fintune champion set RUN` names another;
 * `fintune rollback` goes back to the one before.
 * @module
 */
import type { Command } from "commander";
import { describeDifference } from "../metrics/significance.js";
import { Champion, type ChampionMove } from "../pipeline/champion/champion.js";
import { findChampion, rollBack, setChampion } from "../pipeline/champion/rollback.js";
import { formatScore, noValue } from "../report/numbers.js";
import { formatTable } from "../report/table.js";
import { localTime, printJson, terminalProgress, terminalWidth } from "./terminal.js";

interface ChampionFlags {
	json?: boolean;
	link?: string;
}

export function addChampion(program: Command): Command {
	const command = program
		.command("champion")
		.argument("[dir]", "folder of a pipeline's runs, or the link", "runs")
		.description("show the champion of a pipeline (promote: in its file) and the moves of its link")
		.option("--json", "one JSON document on stdout")
		.action(show);
	command
		.command("set <run>")
		.description("make a finished run the champion without a comparison")
		.option("--link <path>", "the link (default: champion, beside the run)")
		.exitOverride()
		.action(async (run: string, _own: unknown, set: Command) => {
			const { json, link } = set.optsWithGlobals<ChampionFlags>();
			const champion = link === undefined ? Champion.beside(run) : new Champion(link);
			tellMove(champion, await setChampion(champion, run, terminalProgress().message), json);
		});
	return command;
}

export function addRollback(program: Command): Command {
	return program
		.command("rollback")
		.argument("[dir]", "folder of a pipeline's runs, or the link", "runs")
		.description("go back to the champion before the present one")
		.option("--json", "one JSON document on stdout")
		.action(async (dir: string, { json }: ChampionFlags) => {
			const champion = await findChampion(dir);
			tellMove(champion, await rollBack(champion, terminalProgress().message), json);
		});
}

function tellMove({ link }: Champion, move: ChampionMove, json: boolean | undefined): void {
	if (json) printJson({ link, ...move });
	else process.stdout.write(`${link} -> ${move.run}${move.previous === null ? "" : ` (before: ${move.previous})`}\n`);
}

async function show(dir: string, { json }: ChampionFlags): Promise<void> {
	const champion = await findChampion(dir);
	const { run, present, moves } = await champion.read();
	if (json) return printJson({ link: champion.link, run: run ?? null, present, history: moves });
	const lost = present ? "" : ", which is not there";
	process.stdout.write(`${champion.link} -> ${run === undefined ? "nothing: the link is missing" : `${run}${lost}`}\n`);
	if (moves.length === 0) return;
	const columns = [
		{ header: "time" },
		{ header: "move" },
		{ header: "run" },
		{ header: "metric" },
		{ header: "score", align: "right" as const },
		{ header: "gain" },
	];
	const rows = moves.map((m) => [
		localTime(m.time),
		m.event,
		m.run,
		m.metric ?? noValue,
		m.score === undefined ? noValue : formatScore(m.score),
		gainOf(m),
	]);
	process.stdout.write(`${formatTable(columns, rows, terminalWidth())}\n`);
}

const gainOf = ({ gain, low, high, p }: ChampionMove): string =>
	gain === undefined || low === undefined || high === undefined || p === undefined
		? noValue
		: describeDifference({ difference: gain, low, high, pValue: p, undefinedResamples: 0 });
