/**
 * `fintune compare`: two runs side by side.
 * @module
 */
import type { Command } from "commander";
import { compareRuns, type RunComparison } from "../pipeline/runs/compare.js";
import { formatCount, formatLoss, noValue } from "../report/numbers.js";
import { formatTable } from "../report/table.js";
import { comparisonText } from "./compare_evaluations.js";
import { stateText } from "./status.js";
import { printJson, terminalWidth } from "./terminal.js";

export function addCompare(program: Command): Command {
	return program
		.command("compare")
		.argument("<a>", "run folder")
		.argument("<b>", "another one")
		.description("set two runs side by side: config differences, metrics, paired tests of their answers to the same documents")
		.option("--json", "one JSON document on stdout")
		.action(async (a: string, b: string, flags: { json?: boolean }) => {
			const comparison = await compareRuns(a, b);
			if (flags.json) printJson(comparison);
			else process.stdout.write(comparisonOfRuns(comparison));
		});
}

function comparisonOfRuns({ a, b, config, metrics, tests }: RunComparison): string {
	const parts = [`A  ${stateText(a)}\nB  ${stateText(b)}\n`];
	if (config.length === 0) parts.push("The configs are the same.\n");
	else {
		const rows = config.map((difference) => [difference.path, valueText(difference.a), valueText(difference.b)]);
		parts.push(
			formatTable([{ header: "config" }, { header: "A", minWidth: 12 }, { header: "B", minWidth: 12 }], rows, terminalWidth()),
		);
	}
	const differing = metrics.filter(({ difference }) => difference !== 0);
	if (differing.length > 0) {
		const right = { align: "right" as const };
		parts.push(
			formatTable(
				[
					{ header: "stage" },
					{ header: "metric", minWidth: 12 },
					{ header: "A", ...right },
					{ header: "B", ...right },
					{ header: "B - A", ...right },
				],
				differing.map((pair) => [
					pair.stage,
					pair.metric,
					numberText(pair.a),
					numberText(pair.b),
					differenceText(pair.difference),
				]),
				terminalWidth(),
			),
		);
	}
	const equal = metrics.length - differing.length;
	if (equal > 0) parts.push(`${equal}${differing.length > 0 ? " more" : ""} metrics are the same.\n`);
	for (const test of tests) {
		if ("error" in test) parts.push(`${test.stage}: ${test.task}: not tested: ${test.error}\n`);
		else parts.push(`${test.stage}: ${comparisonText(test)}\n`);
	}
	return parts.join("\n");
}

const valueText = (value: unknown): string =>
	value === undefined ? noValue : typeof value === "string" ? value : JSON.stringify(value);

const numberText = (value: number | undefined): string =>
	value !== undefined && Number.isInteger(value) ? formatCount(value) : formatLoss(value);

const differenceText = (value: number | undefined): string =>
	value !== undefined && value > 0 ? `+${numberText(value)}` : numberText(value);
