/**
 * What a run folder says of its run, read without touching it: whether one is going on, how far it is, how it ended.
 *
 * Whether the process that status.json names is still there is asked of the kernel by pid and start time. The lock is not
 * tried: even for an instant, that could make a run fail that starts just then.
 * @module
 */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { describe, isObject } from "../../engine/files.js";
import { FintuneError } from "../../errors.js";
import type { ProgressFields } from "../../report/log.js";
import { readJsonIfThere } from "../../stages/files.js";
import { configFile, journalFile, RunFolder, resultFile, statusFile } from "../folder.js";
import { heartbeatSeconds, type StatusDocument } from "../heartbeat.js";
import { isAlive, processStart } from "../process_alive.js";
import type { PipelineConfig } from "../schema.js";
import type { RunResult, StageSummary } from "../types.js";

/** Without a heartbeat for so long a run that cannot be asked after is no longer taken to go on. */
const silentAfterSeconds = 12 * heartbeatSeconds;

/**
 * running: its process is there. silent: it says so, but has not for a minute, and it cannot be seen from here (another
 * host). died: it says so, but its process is gone. damaged: a file of the folder cannot be read.
 */
export type RunStateName = "running" | "silent" | "died" | "damaged" | RunResult["status"];

/** A stage of the run, those that have not begun among them. */
export interface StageState {
	name: string;
	type: string;
	iteration: number;
	status: StageSummary["status"] | "running" | "died" | "open";
	metrics: Record<string, number>;
	seconds?: number;
	note?: string;
}

export interface RunState {
	folder: string;
	/** Of the pipeline. */
	name?: string;
	state: RunStateName;
	/** Why it is taken for silent, died or damaged. */
	why?: string;
	exit_status?: number;
	error?: { code: string; message: string };
	pid?: number;
	host?: string;
	started?: string;
	updated?: string;
	/** Seconds since status.json was last written. */
	age?: number;
	/** The newest state of the work, of a run that is not over. */
	progress?: ProgressFields & { at: string };
	stages: StageState[];
}

/** Whether a folder is one that a run has worked in. */
export const isRunFolder = (path: string): boolean =>
	[statusFile, resultFile, journalFile, configFile].some((name) => existsSync(join(path, name)));

/**
 * The state of the run in a folder; what is damaged in it is part of the state.
 * @throws FintuneError E_NOT_FOUND where no run has worked there
 */
export async function readRunState(folder: string, now = Date.now()): Promise<RunState> {
	if (!isRunFolder(folder)) {
		throw new FintuneError("E_NOT_FOUND", "is no run folder", {
			where: folder,
			expected: `a folder that fintune run made, with ${statusFile}`,
		});
	}
	const damage: string[] = [];
	const whole = async <T>(read: Promise<T>): Promise<T | undefined> => {
		try {
			return await read;
		} catch (error) {
			damage.push(error instanceof Error ? error.message : String(error));
			return undefined;
		}
	};
	const status = await whole(readStatus(join(folder, statusFile)));
	const config = await whole(readConfig(folder));
	await whole(new RunFolder(folder).result());
	const [state, why] =
		damage.length > 0 ? (["damaged", damage.join("; ")] as const) : status ? liveness(status, now) : died("it left no status");
	return {
		folder,
		...(config ? { name: config.name } : {}),
		state,
		...(why === undefined ? {} : { why }),
		...pick(status, ["exit_status", "error", "pid", "host", "started", "updated"]),
		...(status?.updated === undefined ? {} : { age: Math.max(0, (now - Date.parse(status.updated)) / 1000) }),
		...(status?.status === "running" && status.progress ? { progress: status.progress } : {}),
		stages: [...(status?.stages ?? []), ...openStages(status, config, state)],
	};
}

const died = (why: string) => ["died", why] as const;

/** What a status of "running" is worth. */
function liveness({ status, pid, host, process, updated }: StatusDocument, now: number): readonly [RunStateName, string?] {
	if (status !== "running") return [status];
	const silence = (now - Date.parse(updated)) / 1000;
	if (host === undefined || host === hostname()) {
		if (!isAlive(pid)) return died(`there is no process ${pid}`);
		const start = processStart(pid);
		if (process !== undefined && start !== undefined) {
			return process === start ? ["running"] : died(`process ${pid} is another one by now`);
		}
	}
	if (silence < silentAfterSeconds) return ["running"];
	return ["silent", `no heartbeat for ${Math.round(silence)} s: it died, or cannot write here`];
}

async function readStatus(path: string): Promise<StatusDocument | undefined> {
	const status = await readJsonIfThere(path);
	if (status === undefined) return undefined;
	if (isObject(status) && typeof status.status === "string" && Array.isArray(status.stages)) return status as never;
	throw new FintuneError("E_DATA_FORMAT", "is not what a run writes", { where: path, found: describe(status) });
}

async function readConfig(folder: string): Promise<PipelineConfig | undefined> {
	const path = join(folder, configFile);
	if (!existsSync(path)) return undefined;
	const config = await new RunFolder(folder).config();
	if (Array.isArray(config?.stages)) return config as PipelineConfig;
	throw new FintuneError("E_CONFIG", "is no pipeline", { where: path });
}

/** The stage that is at work, and those of the pipeline that have not had their turn. */
function openStages(status: StatusDocument | undefined, config: PipelineConfig | undefined, state: RunStateName): StageState[] {
	const over = status?.stages ?? [];
	const atWork = status?.status === "running" && !over.some((s) => s.name === status.stage && s.iteration === status.iteration);
	const current = atWork ? status.stage : undefined;
	const names = new Set([...over.map((s) => s.name), current]);
	const stages = config?.stages ?? [];
	return [
		...(current === undefined
			? []
			: [
					{
						name: current,
						type: stages.find((s) => s.name === current)?.type ?? "",
						iteration: status?.iteration ?? 1,
						metrics: {},
						status: state === "died" ? ("died" as const) : ("running" as const),
					},
				]),
		...stages
			.filter((s) => !names.has(s.name))
			.map(({ name, type }) => ({ name, type, iteration: 1, metrics: {}, status: "open" as const })),
	];
}

function pick<T extends object, K extends keyof T>(value: T | undefined, keys: readonly K[]): Partial<Pick<T, K>> {
	const found: Partial<Pick<T, K>> = {};
	for (const key of keys) if (value?.[key] !== undefined) found[key] = value[key];
	return found;
}
