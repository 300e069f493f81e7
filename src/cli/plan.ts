/**
 * `fintune plan`: what a pipeline would do, in rows, tokens, steps and bytes.
 * @module
 */
import type { Command } from "commander";
import { totalBytes } from "../engine/model.js";
import type { DtypeName } from "../engine/types.js";
import { FintuneError } from "../errors.js";
import { loadPipeline } from "../pipeline/config.js";
import { planPipeline } from "../pipeline/plan.js";
import { pipelineJsonSchema } from "../pipeline/schema.js";
import { formatBytes, formatCount, noValue } from "../report/numbers.js";
import { formatTable } from "../report/table.js";
import { addModelOptions, asOfDate, collect } from "./options.js";
import { printJson, terminalWidth } from "./terminal.js";

interface PlanFlags {
	set: string[];
	data: string[];
	device?: string;
	dtype?: DtypeName;
	threads?: number;
	json?: boolean;
	schema?: boolean;
	asOf?: string;
}

export function addPlan(program: Command): Command {
	return addModelOptions(program.command("plan"))
		.argument("[pipeline]", "pipeline file (YAML)")
		.description("show what would run, on how many tokens, in how many bytes and steps; nothing is written")
		.option("--set <key=value>", "override one value (repeatable)", collect, [])
		.option("--data <dir>", "folder with task data (repeatable)", collect, [])
		.option("--as-of <date>", "the run of this date: YYYY-MM-DD, today or yesterday", asOfDate)
		.option("--schema", "print the JSON Schema of pipeline files, for editors, and nothing else")
		.option("--json", "one JSON document on stdout")
		.action(async (file: string | undefined, { set, data, json, schema, asOf, ...options }: PlanFlags) => {
			if (schema) return printJson(pipelineJsonSchema());
			if (file === undefined)
				throw new FintuneError("E_USAGE", "plan needs a pipeline file", { expected: "fintune plan PIPELINE.yaml" });
			const pipeline = await loadPipeline(file, set, asOf);
			const plan = await planPipeline(pipeline, { ...options, dataDirs: data });
			if (json) return printJson(plan);
			const count = (value: number | undefined): string => (value === undefined ? noValue : formatCount(value));
			const rows = plan.stages.map((stage) => {
				const bytes = stage.memory ? totalBytes(stage.memory) : undefined;
				const memory = bytes === undefined ? noValue : formatBytes(bytes);
				return [
					stage.name,
					stage.type,
					count(stage.rows),
					count(stage.tokens),
					count(stage.steps),
					count(stage.microBatchTokens),
					memory,
				];
			});
			process.stdout.write(
				`${formatTable(
					[
						{ header: "stage" },
						{ header: "type" },
						{ header: "rows", align: "right" },
						{ header: "tokens", align: "right" },
						{ header: "steps", align: "right" },
						{ header: "micro-batch", align: "right" },
						{ header: "peak memory", align: "right" },
					],
					rows,
					terminalWidth(),
				)}\n`,
			);
			for (const stage of plan.stages) {
				if (stage.memory) {
					const kinds = Object.entries(stage.memory).filter(([, bytes]) => bytes > 0);
					process.stdout.write(`${stage.name}: ${kinds.map(([kind, bytes]) => `${kind} ${formatBytes(bytes)}`).join(", ")}\n`);
				}
				if (stage.when !== undefined) process.stdout.write(`${stage.name}: runs when ${stage.when}\n`);
				if (stage.until !== undefined) process.stdout.write(`${stage.name}: repeats until ${stage.until}\n`);
				for (const note of stage.notes) process.stdout.write(`${stage.name}: ${note}\n`);
			}
			for (const line of plan.after) process.stdout.write(`${line}\n`);
			process.stdout.write(`available memory: ${formatBytes(plan.memoryAvailable)}\n`);
		});
}
