/**
 * Everything that can be known before a run begins: device, model, rows, memory, disk, and what a training row looks like.
 * `fintune doctor PIPELINE` shows it, `fintune run --strict` refuses what is not in order.
 * @module
 */
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { resolveDevice } from "../engine/device.js";
import { resolveModel, totalBytes } from "../engine/model.js";
import { type ExitStatus, FintuneError } from "../errors.js";
import { formatBytes } from "../report/numbers.js";
import { freeBytes } from "../stages/disk.js";
import { oddities, shownExample } from "../stages/sanity.js";
import { ModelSession } from "../stages/session.js";
import type { TrainingData } from "../stages/training_data.js";
import { type LoadedPipeline, modelPath, resolvedConfig, resolvePath, runFolder } from "./config.js";
import { type PipelinePlan, planPipeline, type StagePlan } from "./plan.js";
import type { RunOptions } from "./types.js";

export interface Finding {
	level: "ok" | "warning" | "error";
	/** device, model, data, memory, disk, rows, loss; after a stage's name where it is about one. */
	about: string;
	message: string;
	/** What a run would end with. */
	exitStatus?: ExitStatus;
}

export interface PreflightOptions extends Pick<RunOptions, "device" | "dtype" | "threads" | "dataDirs" | "out"> {
	/** Also opens the model for the loss of the first rows. Default true. */
	loss?: boolean;
}

/** Rows whose loss is measured, the longest of the first ones, and how much of them. */
const lossRows = 4;
const lossTokens = 256;

/** Looks at everything; what one thing hides is not looked at, and nothing is written. */
export async function preflight(pipeline: LoadedPipeline, options: PreflightOptions = {}): Promise<Finding[]> {
	const findings: Finding[] = [];
	const add = (level: Finding["level"], about: string, message: string): void => void findings.push({ level, about, message });
	const attempt = async <T>(about: string, look: () => T | Promise<T>): Promise<T | undefined> => {
		try {
			return await look();
		} catch (error) {
			if (!(error instanceof FintuneError)) throw error;
			findings.push({ level: "error", about, message: error.message, exitStatus: error.exitStatus });
			return undefined;
		}
	};
	const config = resolvedConfig(pipeline, options);
	const device = await attempt("device", () => resolveDevice(config.device));
	if (device) add("ok", "device", device.name);
	const model = await attempt("model", () => resolveModel(modelPath(pipeline)));
	if (model) add("ok", "model", model.dir);
	if (!device || !model) return findings;

	const data: { stage: StagePlan; data: TrainingData }[] = [];
	const plan = await attempt("data", () => planPipeline(pipeline, options, (stage, rows) => data.push({ stage, data: rows })));
	if (!plan) return findings;
	memoryFindings(plan, add);
	await attempt("disk", () => diskFinding(pipeline, plan, options.out, add));
	const adapters = config.adapters.map((path) => resolvePath(pipeline, path));
	const session = new ModelSession(model.dir, adapters, { device: config.device, dtype: config.dtype, threads: config.threads });
	try {
		for (const each of data) await attempt(`${each.stage.name}: rows`, () => rowFindings(each, session, add));
		const first = data[0];
		if (options.loss !== false && first?.stage.type === "sft") {
			await attempt(`${first.stage.name}: loss`, () => lossFinding(first, session, add));
		}
	} finally {
		await session.close();
	}
	return findings;
}

type Add = (level: Finding["level"], about: string, message: string) => void;

/** The notes of the plan: what a run would refuse or do otherwise for want of memory, counts of rows, licences. */
function memoryFindings(plan: PipelinePlan, add: Add): void {
	for (const { name, memory, short, notes } of plan.stages) {
		if (memory) {
			const level = short === "refused" ? "error" : short === "smaller" ? "warning" : "ok";
			add(level, `${name}: memory`, `${formatBytes(totalBytes(memory))} of ${formatBytes(plan.memoryAvailable)}`);
		}
		for (const note of notes) add("ok", `${name}: data`, note);
	}
}

/** Room for what the stages leave and for their checkpoints. */
async function diskFinding(pipeline: LoadedPipeline, plan: PipelinePlan, out: string | undefined, add: Add): Promise<void> {
	let folder = resolve(out ?? runFolder(pipeline));
	while (!existsSync(folder)) folder = dirname(folder);
	let needed = 0;
	plan.stages.forEach(({ memory }, i) => {
		const stage = pipeline.config.stages[i]!;
		if (!memory || !("save_total_limit" in stage)) return;
		// Both moments in f32: the trained parameters are half of that, a checkpoint three halves.
		const parameters = (memory.optimizer ?? 0) / 2;
		needed += parameters * (1 + 3 * stage.save_total_limit);
	});
	const free = await freeBytes(folder);
	const message = `${formatBytes(needed)} for results and checkpoints, ${formatBytes(free)} free in ${folder}`;
	add(free < needed ? "error" : free < 2 * needed ? "warning" : "ok", "disk", message);
}

async function rowFindings(
	{ stage, data }: { stage: StagePlan; data: TrainingData },
	session: ModelSession,
	add: Add,
): Promise<void> {
	const tokenizer = await session.tokenizer();
	const [example] = data.sequences;
	if (example) add("ok", `${stage.name}: a row`, shownExample(example, tokenizer));
	for (const oddity of oddities(data.sequences, tokenizer)) add("warning", `${stage.name}: rows`, oddity);
}

/** A model that knows language predicts its first rows better than by chance. */
async function lossFinding(
	{ stage, data }: { stage: StagePlan; data: TrainingData },
	session: ModelSession,
	add: Add,
): Promise<void> {
	const rows = data.sequences.slice(0, 64).sort((a, b) => a.inputIds.length - b.inputIds.length);
	const model = await session.model();
	// Prompts, too: a few answers in an odd format may surprise any model.
	const scores = await model.score(rows.slice(-lossRows).map(({ inputIds }) => ({ inputIds: inputIds.subarray(0, lossTokens) })));
	const targets = scores.reduce((sum, { n }) => sum + n, 0);
	if (targets === 0) return;
	const loss = -scores.reduce((sum, score) => sum + score.sum, 0) / targets;
	const chance = Math.log(model.config.vocabSize);
	const message = `${loss.toFixed(3)} a token before the first step; by chance ${chance.toFixed(3)}`;
	const plausible = loss < chance;
	add(
		plausible ? "ok" : "warning",
		`${stage.name}: loss`,
		plausible ? message : `${message}: do weights and tokenizer belong together?`,
	);
}

/** @throws FintuneError the first error; E_CONFIG naming the warnings */
export function refuseFindings(findings: readonly Finding[]): void {
	const bad = findings.filter(({ level }) => level !== "ok");
	if (bad.length === 0) return;
	throw new FintuneError("E_CONFIG", `--strict: ${bad.length} thing${bad.length === 1 ? " is" : "s are"} not in order`, {
		found: bad.map(({ level, about, message }) => `${level}: ${about}: ${message}`).join("\n"),
		hint: "fintune doctor PIPELINE shows everything that was looked at",
	});
}
