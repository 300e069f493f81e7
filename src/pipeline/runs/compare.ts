/**
 * Two runs side by side: what their configs differ in, their metrics, and whether their answers to the same documents
 * differ more than by chance.
 * @module
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { isObject } from "../../engine/files.js";
import { FintuneError } from "../../errors.js";
import { compareGenerations, type GenerationsComparison } from "../../tasks/compare_generations.js";
import { taskByName } from "../../tasks/registry.js";
import { RunFolder, stageLabel } from "../folder.js";
import { type RunState, readRunState, type StageState } from "./state.js";

/** One value of the configs that is not the same; undefined where a run has none. */
export interface ConfigDifference {
	/** stages.sft.learning_rate */
	path: string;
	a?: unknown;
	b?: unknown;
}

/** One metric of one stage; undefined where a run has none. */
export interface MetricPair {
	stage: string;
	metric: string;
	a?: number;
	b?: number;
	/** b - a */
	difference?: number;
}

export interface RunComparison {
	a: RunState;
	b: RunState;
	config: ConfigDifference[];
	metrics: MetricPair[];
	/** One entry for each task that an evaluate stage of this name has answered in both runs. */
	tests: ((GenerationsComparison & { stage: string }) | { stage: string; task: string; error: string })[];
}

/** Sets two runs side by side. @throws FintuneError E_NOT_FOUND where one of the folders is no run */
export async function compareRuns(pathA: string, pathB: string): Promise<RunComparison> {
	const [a, b] = [await readRunState(pathA), await readRunState(pathB)];
	return {
		a,
		b,
		config: differences("", await flatConfig(pathA), await flatConfig(pathB)),
		metrics: metricPairs(a, b),
		tests: await pairedTests(a, b),
	};
}

/** The config with its stages by name, so that one more of them does not shift all others. */
async function flatConfig(folder: string): Promise<unknown> {
	const config: { stages?: unknown } | null = await new RunFolder(folder).config();
	const stages = config?.stages;
	if (!Array.isArray(stages)) return config;
	return { ...config, stages: Object.fromEntries(stages.map(({ name, ...stage }: { name: string }) => [name, stage])) };
}

function differences(path: string, a: unknown, b: unknown): ConfigDifference[] {
	if (isObject(a) && isObject(b)) {
		return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) =>
			differences(path === "" ? key : `${path}.${key}`, a[key], b[key]),
		);
	}
	if (JSON.stringify(a) === JSON.stringify(b)) return [];
	return [{ path, ...(a === undefined ? {} : { a }), ...(b === undefined ? {} : { b }) }];
}

function metricPairs(a: RunState, b: RunState): MetricPair[] {
	const [inA, inB] = [a, b].map(({ stages }) => new Map(stages.map((stage) => [stageLabel(stage), stage.metrics] as const)));
	return [...new Set([...inA!.keys(), ...inB!.keys()])].flatMap((stage) => {
		const [x, y] = [inA!.get(stage) ?? {}, inB!.get(stage) ?? {}];
		return [...new Set([...Object.keys(x), ...Object.keys(y)])].map((metric): MetricPair => {
			const [valueA, valueB] = [x[metric], y[metric]];
			return {
				stage,
				metric,
				...(valueA === undefined ? {} : { a: valueA }),
				...(valueB === undefined ? {} : { b: valueB }),
				...(valueA === undefined || valueB === undefined ? {} : { difference: valueB - valueA }),
			};
		});
	});
}

async function pairedTests(a: RunState, b: RunState): Promise<RunComparison["tests"]> {
	const tests: RunComparison["tests"] = [];
	for (const stage of a.stages.filter((s) => s.type === "evaluate")) {
		if (!b.stages.some((s) => stageLabel(s) === stageLabel(stage) && s.type === "evaluate")) continue;
		const [folderA, folderB] = [generationsOf(a, stage), generationsOf(b, stage)];
		const inB = new Set(await taskFiles(folderB));
		for (const file of (await taskFiles(folderA)).filter((name) => inB.has(name))) {
			const task = file.replace(/\.jsonl$/, "");
			const label = stageLabel(stage);
			try {
				const test = await compareGenerations(taskByName(task), join(folderA, file), join(folderB, file));
				tests.push({ stage: label, ...test });
			} catch (error) {
				if (!(error instanceof FintuneError)) throw error;
				tests.push({ stage: label, task, error: error.message });
			}
		}
	}
	return tests;
}

const generationsOf = ({ folder }: RunState, { name, iteration }: StageState): string =>
	join(new RunFolder(folder).stage(name, iteration), "generations");

async function taskFiles(folder: string): Promise<string[]> {
	return (await readdir(folder).catch(() => [])).filter((name) => /^[^.]+\.jsonl$/.test(name)).sort();
}
