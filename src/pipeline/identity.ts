/**
 * What makes a stage the same stage: a hash over its resolved config, the content of its inputs and the code version.
 * @module
 */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expandPattern } from "../data/glob.js";
import { hashFile } from "../engine/files.js";
import { fromSystemError } from "../errors.js";
import { corpusRows, LeakCheck } from "../stages/leaks.js";
import type { Manifest } from "../stages/manifest.js";
import type { StageConfig } from "../stages/schema.js";
import { leaksOfFiles } from "../stages/training_data.js";
import { loadIfHere } from "../tasks/held_out.js";
import { taskByName } from "../tasks/registry.js";
import type { Split, TaskRow } from "../tasks/task.js";
import { codeIdentity } from "../version.js";

/** sha256 over a JSON value with sorted keys, hex. */
export function hashJson(value: unknown): string {
	return createHash("sha256")
		.update(JSON.stringify(sorted(value)))
		.digest("hex");
}

function sorted(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(sorted);
	if (value === null || typeof value !== "object") return value;
	return Object.fromEntries(
		Object.entries(value)
			.filter(([, v]) => v !== undefined)
			.sort(([a], [b]) => (a < b ? -1 : 1))
			.map(([k, v]) => [k, sorted(v)]),
	);
}

const modelFilePattern = /\.(safetensors|json|jinja|txt|model)$/;

/** Hash over the names and bytes of the files of a model or adapter folder. */
export async function hashFolder(folder: string): Promise<string> {
	let names: string[];
	try {
		names = (await readdir(folder)).filter((name) => modelFilePattern.test(name)).sort();
	} catch (error) {
		throw fromSystemError(error, folder);
	}
	return hashJson(await Promise.all(names.map(async (name) => [name, await hashFile(join(folder, name))])));
}

/** Hashes files and task splits once a run. */
export class InputHasher {
	readonly #seen = new Map<string, Promise<string>>();
	readonly #dataDirs: readonly string[];
	readonly #resolve: (path: string) => string;
	readonly #leaks: LeakCheck;

	constructor(dataDirs: readonly string[], resolve: (path: string) => string, leaks = new LeakCheck(dataDirs)) {
		this.#dataDirs = dataDirs;
		this.#resolve = resolve;
		this.#leaks = leaks;
	}

	#once(key: string, make: () => Promise<string>): Promise<string> {
		const known = this.#seen.get(key);
		if (known) return known;
		const made = make();
		this.#seen.set(key, made);
		return made;
	}

	folder(path: string): Promise<string> {
		return this.#once(`folder ${path}`, () => hashFolder(path));
	}

	files(pattern: string): Promise<string> {
		return this.#once(`files ${pattern}`, async () => {
			const files = await expandPattern(this.#resolve(pattern));
			return hashJson(await Promise.all(files.map((file) => hashFile(file))));
		});
	}

	task(name: string, split: Split): Promise<string> {
		return this.#once(`task ${name} ${split}`, async () => {
			const rows = await taskByName(name).load(split, this.#dataDirs);
			return hashRows(rows);
		});
	}

	/** What an evaluation's trivial baselines and its few-shot examples come from; empty where such rows are not there. */
	async learntFrom(name: string, split: Split, shots: number): Promise<string> {
		const parts: string[] = [];
		for (const from of split === "test" ? (["train", "valid"] as const) : (["train"] as const)) {
			const part = shots > 0 ? await this.task(name, from) : await loadIfHere(() => this.task(name, from));
			if (part !== undefined) parts.push(part);
		}
		return hashJson(parts);
	}

	async #dropped(leaks: Promise<ReadonlyMap<number, unknown>>): Promise<string> {
		return hashJson([...(await leaks).keys()]);
	}

	/** The rows of a task's split that are trained on: other test sets, other rows. */
	trainedRows(name: string, split: Split, allowLeaks: boolean): Promise<string> {
		return this.#once(`trained ${name} ${split} ${allowLeaks}`, async () => {
			const { rows, leaks } = await this.#leaks.taskRows(taskByName(name), split);
			return hashRows(allowLeaks ? rows : rows.filter((row) => !leaks.has(row)));
		});
	}

	/**
	 * Hashes of everything a stage reads, apart from the model. Test sets count by the rows that they keep from training,
	 * so that one more of them does not repeat a training that it does not change.
	 * @param stageFolder newest finished folder of an earlier stage
	 */
	async inputs(stage: StageConfig, stageFolder: (stage: string) => string): Promise<unknown[]> {
		const wanted: Promise<string>[] = [];
		if (stage.type === "evaluate") {
			for (const name of stage.tasks) {
				wanted.push(this.task(name, stage.split), this.learntFrom(name, stage.split, stage.num_fewshot));
			}
		} else if (stage.type === "synthesize") {
			const { corpus, allow_leaks: allowed } = stage;
			wanted.push(corpus === undefined ? this.trainedRows(stage.task, "train", allowed) : this.files(corpus));
			if (corpus !== undefined && !allowed) wanted.push(this.#dropped(this.#leaks.files(this.#resolve(corpus), corpusRows)));
		} else {
			for (const source of stage.data) {
				if ("task" in source) wanted.push(this.trainedRows(source.task, source.split, stage.allow_leaks));
				if ("path" in source) wanted.push(this.files(source.path));
				if ("task" in source || stage.allow_leaks) continue;
				wanted.push(this.#dropped(leaksOfFiles(this.#leaks, stage, source, { resolvePath: this.#resolve, stageFolder })));
			}
			const validation = stage.validation;
			if (validation?.path) wanted.push(this.files(validation.path));
			if (validation?.split) {
				for (const source of stage.data) if ("task" in source) wanted.push(this.task(source.task, validation.split));
			}
			if (stage.lora?.init) wanted.push(this.folder(this.#resolve(stage.lora.init)));
		}
		return Promise.all(wanted);
	}
}

const hashRows = (rows: readonly TaskRow[]): string => hashJson(rows.map(({ query, answer, doc }) => [query, answer, doc]));

/** What a stage's identity is made of besides its own config. */
export interface IdentityParts {
	stage: StageConfig;
	seed: number;
	dtype: string;
	/** The date that the run belongs to. */
	asOf?: string;
	device: string;
	/** Hash of the addon's bytes: other arithmetic, other result. */
	addon: string;
	/** Hash of the base model folder. */
	model: string;
	/** Identity of the stage, or hash of the folder, that each adapter of the stack came from. */
	stack: readonly string[];
	inputs: readonly unknown[];
	/** Identities of the stages named in `from`. */
	from: readonly string[];
}

/** The identity of a stage: equal parts, equal result. */
export const stageIdentity = (parts: IdentityParts): string =>
	hashJson({ ...parts, stage: workOf(parts.stage), code: codeIdentity() });

/**
 * What an interrupted stage can go on with: the same work on the same content, whichever build and device began it.
 * @param parts hashes of the content of model, stack and earlier stages, where the identity has that of their stages
 */
export const workIdentity = ({ stage, ...parts }: Omit<IdentityParts, "addon" | "device">): string =>
	hashJson({ ...parts, stage: workOf(stage) });

/** Whether a file of a finished stage is there for later ones: no record, no measured times. */
export const isContent = (file: string): boolean => !/^((stage|started)\.json|metrics\.jsonl|tensorboard\/.*)$/.test(file);

/** Hash over the files that a finished stage leaves for later ones. */
export const contentIdentity = ({ files }: Manifest): string =>
	hashJson(Object.entries(files).filter(([file]) => isContent(file)));

/** The part of a stage's config that decides what it makes; conditions, gates, checkpoints, and when to wait or stop do not. */
function workOf(config: StageConfig): object {
	const { when: _when, ...stage } = config as StageConfig & Record<string, unknown>;
	const { until: _until, max_iterations: _iterations, gate: _gate, ...work } = stage;
	const { save_steps: _steps, save_minutes: _minutes, save_total_limit: _limit, guards, ...rest } = work;
	if (guards === undefined) return rest;
	const {
		low_memory: _low,
		low_memory_megabytes: _megabytes,
		disk_wait_minutes: _wait,
		...deciding
	} = guards as object & Record<string, unknown>;
	return { ...rest, guards: deciding };
}
