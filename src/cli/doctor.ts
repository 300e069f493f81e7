/**
 * `fintune doctor`: what this installation can do here, and what would stop it.
 * @module
 */
import { existsSync } from "node:fs";
import { arch, platform, totalmem } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { cpuInfo } from "../engine/cpu_info.js";
import { gpuInfo, type NativeGpuInfo } from "../engine/device.js";
import { describeDriver, findDriver } from "../engine/driver.js";
import { addonOutcomes } from "../engine/native.js";
import type { DtypeName } from "../engine/types.js";
import { ExitStatus } from "../errors.js";
import { loadPipeline, runFolder } from "../pipeline/config.js";
import { type Finding, preflight } from "../pipeline/preflight.js";
import { formatBytes } from "../report/numbers.js";
import { availableMemory } from "../stages/memory.js";
import { taskDataDirs } from "../tasks/data_dirs.js";
import { packageRoot, version } from "../version.js";
import { cudaLines, judgeSettings } from "./doctor_cuda.js";
import { addModelOptions, asOfDate, collect } from "./options.js";
import { printJson, showError } from "./terminal.js";

interface DoctorFlags {
	device?: string;
	dtype?: DtypeName;
	threads?: number;
	set: string[];
	data: string[];
	out?: string;
	asOf?: string;
	loss: boolean;
	strict?: boolean;
	json?: boolean;
}

type Line = [name: string, value: string];

export function addDoctor(program: Command): Command {
	return addModelOptions(program.command("doctor"))
		.argument("[pipeline]", "pipeline file (YAML)")
		.description("check the installation, and what a pipeline's run would begin with")
		.option("--set <key=value>", "override one value of the pipeline (repeatable)", collect, [])
		.option("--data <dir>", "folder with task data (repeatable)", collect, [])
		.option("--out <dir>", "run folder (default runs/<name>)")
		.option("--as-of <date>", "the run of this date: YYYY-MM-DD, today or yesterday", asOfDate)
		.option("--no-loss", "do not open the model for the loss of the first rows")
		.option("--strict", "warnings are errors")
		.option("--json", "one JSON document on stdout")
		.action(async (file: string | undefined, flags: DoctorFlags) => {
			const facts = {
				fintune: version,
				node: process.version,
				platform: `${platform()}-${arch()}`,
				memory: { total: totalmem(), available: availableMemory() },
				dataDirs: taskDataDirs().map((dir) => ({ dir, exists: existsSync(dir) })),
				tinyModel: existsSync(join(packageRoot, "models", "tiny", "model.safetensors")),
				addon: addonOutcomes(),
				driver: findDriver(),
			};
			let cpu: ReturnType<typeof cpuInfo> | undefined;
			let cuda: NativeGpuInfo | undefined;
			try {
				cpu = cpuInfo();
				cuda = gpuInfo(true);
			} catch (error) {
				process.exitCode = showError(error);
			}
			// The device of a pipeline is a finding of its own.
			const settings = cuda ? judgeSettings(cuda, file === undefined ? flags.device : "auto") : undefined;
			for (const error of settings?.errors ?? []) process.exitCode = showError(error);
			const devices = [
				...(cpu ? ["cpu"] : []),
				...(cuda?.gpus ?? []).filter(({ refused }) => refused === null).map(({ index }) => `cuda:${index}`),
			];
			const findings = file === undefined || !cpu ? undefined : await examine(file, flags);
			// The loss of the first rows has made products; the GPUs' free memory is what it was before.
			if (cuda && findings) cuda = { ...gpuInfo(), gpus: cuda.gpus };
			if (flags.json) printJson({ ...facts, cpu: cpu ?? null, cuda: cuda ?? null, devices, ...(findings ? { findings } : {}) });
			else {
				const lines: Line[] = [
					["fintune", facts.fintune],
					["node", `${facts.node} on ${facts.platform}`],
					...facts.addon.map(({ file, state, reason }): Line => ["addon", `${file}: ${state}, ${reason}`]),
					...(cpu
						? ([
								["cpu", `${cpu.threads} threads, instruction set ${cpu.isa} (of ${cpu.isas.join(", ")})`],
								["dtype auto", cpu.hasBf16 ? "bf16 (multiplied by the hardware)" : "f32 (this CPU does not multiply bf16)"],
							] as Line[])
						: []),
					...(cuda ? cudaLines(cuda, describeDriver(facts.driver), settings?.hopper) : []),
					["devices", devices.join(", ") || "none"],
					["memory", `${formatBytes(facts.memory.available)} available of ${formatBytes(facts.memory.total)}`],
					["tiny model", facts.tinyModel ? "there" : "missing: reinstall fintune"],
					...facts.dataDirs.map(({ dir, exists }): Line => ["task data", `${dir}${exists ? "" : " (no such folder)"}`]),
				];
				const width = Math.max(...lines.map(([name]) => name.length));
				for (const [name, value] of lines) process.stdout.write(`${name.padEnd(width)}  ${value}\n`);
				if (findings) process.stdout.write(`\n${findings.map(findingText).join("\n")}\n`);
			}
			if (!facts.tinyModel && cpu) process.exitCode = ExitStatus.noInput;
			const failed = findings?.find(({ level }) => level === "error");
			if (failed) process.exitCode = failed.exitStatus ?? ExitStatus.unavailable;
			else if (flags.strict && findings?.some(({ level }) => level === "warning")) process.exitCode = ExitStatus.config;
		});
}

/** What a run of the pipeline would begin with. */
async function examine(
	file: string,
	{ set, asOf, data, strict: _strict, json: _json, out, ...model }: DoctorFlags,
): Promise<Finding[]> {
	const pipeline = await loadPipeline(file, set, asOf);
	return preflight(pipeline, { ...model, dataDirs: data, out: runFolder(pipeline, out) });
}

/** A finding with its further lines below it. */
const findingText = ({ level, about, message }: Finding): string =>
	`${level.padEnd("warning".length)}  ${about}: ${message.replaceAll("\n", "\n           ")}`;
