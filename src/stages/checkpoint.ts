/**
 * Checkpoints of a training stage: everything that the rest of the training depends on, as safetensors and JSON with a
 * manifest, each in a folder that appears whole or not at all. A stage that goes on from one ends with the same bytes as
 * one that was never interrupted.
 * @module
 */
import { readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import type { Environment } from "../engine/environment.js";
import { makeFolder, removeFolder, syncFolder, temporaryPath } from "../engine/files.js";
import { readSafetensorsRaw, writeSafetensors } from "../engine/safetensors.js";
import type { NamedTensor, OptimizerState } from "../engine/types.js";
import { fromSystemError } from "../errors.js";
import type { MetricRow } from "../report/types.js";
import { readJson, writeJson } from "./files.js";
import type { LrSchedule } from "./lr_schedule.js";
import { verifiedManifest, writeManifest } from "./manifest.js";
import type { DataCursor } from "./step_plan.js";

/** Below a training stage's folder; each checkpoint in it has a manifest of its own. */
export const checkpointsFolder = "checkpoints";

/** Raised when the files of a checkpoint change their meaning; others are not read. */
const formatVersion = 1;

/** trainer_state.json: all but the tensors. */
export interface TrainerState {
	/** Optimiser steps done. */
	step: number;
	/** Rows of metrics.jsonl. */
	rows: MetricRow[];
	/** The row of the newest step, where its validation is still to come. */
	pending?: MetricRow;
	best: { loss: number | null; step: number; misses: number };
	tokens: number;
	/** Batches that a guard left out; the optimiser has done so many steps less. */
	skipped?: number;
	/** Times that a guard went back, and what the learning rate is multiplied by since. */
	rollbacks?: number;
	lrScale?: number;
	seconds: number;
	microBatchTokens: number;
	lossScale?: number;
	lossScaleSteps?: number;
	/** Where the next step begins, and what orders the data. */
	data: DataCursor & { seed: number };
	/** Dropout draws from counters of these two. */
	dropout: { seed: number; step: number };
	schedule: LrSchedule;
}

/** A checkpoint with its tensors, in the trainer's order. */
export interface Checkpoint {
	state: TrainerState;
	parameters: NamedTensor[];
	optimizer: Pick<OptimizerState, "m" | "v">;
	/** Parameters of the best validation so far. */
	best?: NamedTensor[];
}

interface Stored {
	version: number;
	work: string;
	environment: Environment;
	/** Names of the parameters in the trainer's order. */
	parameters: string[];
	state: TrainerState;
}

/** The checkpoints of one stage. */
export class Checkpoints {
	readonly #folder: string;
	readonly #work: string;
	readonly #environment: Environment;
	readonly #limit: number;
	readonly #warn: (message: string) => void;

	/**
	 * @param work what the checkpoints belong to; others in the folder are removed
	 * @param warn is told of checkpoints that cannot be used, and of an environment that was another
	 */
	constructor(folder: string, work: string, environment: Environment, limit: number, warn: (message: string) => void) {
		this.#folder = folder;
		this.#work = work;
		this.#environment = environment;
		this.#limit = limit;
		this.#warn = warn;
	}

	/** Saves one, then removes the oldest beyond the limit. */
	async save({ state, parameters, optimizer, best }: Checkpoint): Promise<string> {
		const name = `checkpoint-${state.step}`;
		const path = join(this.#folder, name);
		const unfinished = temporaryPath(path);
		await makeFolder(unfinished);
		await writeSafetensors(join(unfinished, "parameters.safetensors"), byName(parameters));
		await writeSafetensors(
			join(unfinished, "optimizer.safetensors"),
			new Map([...byName(optimizer.m, "exp_avg."), ...byName(optimizer.v, "exp_avg_sq.")]),
		);
		if (best) await writeSafetensors(join(unfinished, "best.safetensors"), byName(best));
		const stored: Stored = {
			version: formatVersion,
			work: this.#work,
			environment: this.#environment,
			parameters: parameters.map((p) => p.name),
			state,
		};
		await writeJson(join(unfinished, "trainer_state.json"), stored);
		await writeManifest(unfinished);
		try {
			await rename(unfinished, path);
			await syncFolder(this.#folder);
		} catch (error) {
			throw fromSystemError(error, path);
		}
		for (const { name: old } of (await storedCheckpoints(this.#folder)).slice(this.#limit)) await this.#remove(old);
		return name;
	}

	/** The newest checkpoint of this work that verifies; those that do not are named and removed. */
	async newest(): Promise<{ name: string; checkpoint: Checkpoint } | undefined> {
		let found: { name: string; checkpoint: Checkpoint } | undefined;
		for (const { name } of await storedCheckpoints(this.#folder)) {
			if (found) break;
			const checkpoint = await this.#load(name);
			if (checkpoint) found = { name, checkpoint };
			else await this.#remove(name);
		}
		return found;
	}

	async #load(name: string): Promise<Checkpoint | undefined> {
		const path = join(this.#folder, name);
		const manifest = await verifiedManifest(path);
		if (manifest === undefined || "why" in manifest) {
			const { file, why } = manifest ?? { file: "manifest.json", why: "it is missing" };
			this.#warn(`${name} is damaged and not used: ${join(path, file)}: ${why}`);
			return undefined;
		}
		const stored = (await readJson(join(path, "trainer_state.json"))) as Stored;
		if (stored.version !== formatVersion) {
			this.#warn(`${name} is not used: it has format ${stored.version}, this fintune reads ${formatVersion}`);
			return undefined;
		}
		if (stored.work !== this.#work) return undefined;
		const other = Object.entries(this.#environment).filter(
			([key, here]) => stored.environment[key as keyof Environment] !== here,
		);
		if (other.length > 0) {
			const differences = other.map(([key, here]) => `${key} ${stored.environment[key as keyof Environment]} (here ${here})`);
			this.#warn(`${name} was made with ${differences.join(", ")}: bits may differ from those of an uninterrupted run`);
		}
		const read = async (file: string): Promise<(name: string) => NamedTensor> => {
			const tensors = await readSafetensorsRaw(join(path, file));
			return (tensor) => {
				const { shape, bytes } = tensors.get(tensor)!;
				return { name: tensor, shape, data: new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4) };
			};
		};
		const names = stored.parameters;
		const moments = await read("optimizer.safetensors");
		const moment = (kind: string) => names.map((tensor) => ({ ...moments(`${kind}.${tensor}`), name: tensor }));
		return {
			state: stored.state,
			parameters: names.map(await read("parameters.safetensors")),
			optimizer: { m: moment("exp_avg"), v: moment("exp_avg_sq") },
			...("best.safetensors" in manifest.files ? { best: names.map(await read("best.safetensors")) } : {}),
		};
	}

	/** Under another name first, and for good, so that one that is half removed is never taken for a damaged one. */
	async #remove(name: string): Promise<void> {
		const path = join(this.#folder, name);
		const going = temporaryPath(path);
		try {
			await rename(path, going);
			await syncFolder(this.#folder);
		} catch (error) {
			throw fromSystemError(error, path);
		}
		await removeFolder(going);
	}
}

const byName = (tensors: readonly NamedTensor[], prefix = ""): Map<string, NamedTensor> =>
	new Map(tensors.map((tensor) => [prefix + tensor.name, tensor]));

/** The checkpoints in a folder, newest first; none where there is no such folder. */
export async function storedCheckpoints(folder: string): Promise<{ name: string; step: number }[]> {
	let names: string[];
	try {
		names = await readdir(folder);
	} catch (error) {
		const known = fromSystemError(error, folder);
		if (known.code === "E_NOT_FOUND") return [];
		throw known;
	}
	return names
		.flatMap((name) => {
			const step = /^checkpoint-(\d+)$/.exec(name)?.[1];
			return step === undefined ? [] : [{ name, step: Number(step) }];
		})
		.sort((a, b) => b.step - a.step);
}
