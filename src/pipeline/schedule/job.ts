/**
 * What all schedulers are told of a run: the command with absolute paths, the environment that it needs where there is
 * none, when it starts, and how long it takes to stop.
 * @module
 */
import { join, resolve } from "node:path";
import { FintuneError } from "../../errors.js";
import { packageRoot } from "../../version.js";
import { runsIn } from "../champion/retention.js";
import { type LoadedPipeline, runsFolder } from "../config.js";
import { RunFolder } from "../folder.js";

/** Every day at a time, or every so many minutes from midnight. */
export type Timing = { hour: number; minute: number } | { everyMinutes: number };

export interface ScheduledJob {
	/** The pipeline's name. */
	name: string;
	/** Program and arguments. */
	command: string[];
	/** The working folder: runs/ lies in it. */
	folder: string;
	/** PATH, and what fintune reads of the present environment. */
	environment: Record<string, string>;
	timing: Timing;
	/** It stops by itself when its time is over, to go on at the next start and not before. */
	limited: boolean;
	/** Takes what goes to stderr. */
	log: string;
	stop: StopTime;
}

/** From the signal to the end. */
export interface StopTime {
	seconds: number;
	/** What it was taken from, for people. */
	why: string;
}

/** What fintune, the hub's cache and the CUDA libraries read; tokens are never written down. */
const carried = [
	"CUDA_VISIBLE_DEVICES",
	"FINTUNE_DATA",
	"FINTUNE_DEVICE",
	"FINTUNE_NATIVE",
	"HF_HOME",
	"HF_HUB_CACHE",
	"HF_HUB_OFFLINE",
	"HUGGINGFACE_HUB_CACHE",
	"LD_LIBRARY_PATH",
	"XDG_CACHE_HOME",
	"XDG_DATA_HOME",
] as const;

/** Stopping waits for a micro-batch, or a batch of answers, and then for the save: so long where nothing was measured. */
const safeStopSeconds = 300;
/** A save is seldom slower than this many times the slowest measured one: the disk is busy when a machine goes down. */
const stopMargin = 5;

/** `HH:MM`. @throws FintuneError E_USAGE */
export function dailyAt(text: string): Timing {
	const match = /^([01]?\d|2[0-3]):([0-5]\d)$/.exec(text);
	if (!match) throw new FintuneError("E_USAGE", `--at ${text} is no time of day`, { expected: "HH:MM, e.g. 02:30" });
	return { hour: Number(match[1]), minute: Number(match[2]) };
}

/** `15m`, `6h`: what divides an hour or a day, so that every day is the same. @throws FintuneError E_USAGE */
export function everyTime(text: string): Timing {
	const match = /^(\d+)([mh])$/.exec(text);
	const minutes = match ? Number(match[1]) * (match[2] === "h" ? 60 : 1) : 0;
	if (minutes === 0 || (minutes < 60 ? 60 % minutes : 1440 % minutes) !== 0 || (minutes > 60 && minutes % 60 !== 0)) {
		throw new FintuneError("E_USAGE", `--every ${text} is not possible`, {
			expected: "minutes that divide an hour, or hours that divide a day: 5m, 15m, 30m, 1h, 6h, 24h",
		});
	}
	return minutes === 1440 ? { hour: 0, minute: 0 } : { everyMinutes: minutes };
}

/**
 * The job of a pipeline file.
 * @param args of fintune run, behind the pipeline
 * @param out the folder of its runs, where it is not runs/NAME
 */
export async function scheduledJob(
	pipeline: LoadedPipeline,
	timing: Timing,
	args: readonly string[],
	{ out, env = process.env }: { out?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<ScheduledJob> {
	const { name } = pipeline.config;
	const folder = process.cwd();
	const has = (option: string): boolean => args.some((arg) => arg === option || arg.startsWith(`${option}=`));
	if (has("--deadline") && "everyMinutes" in timing) {
		throw new FintuneError("E_USAGE", "--deadline and --every exclude each other", {
			found: "a start after the deadline, whose deadline is tomorrow's",
			hint: "--at HH:MM starts it once a day; --max-runtime limits every start",
		});
	}
	const runs = resolve(runsFolder(pipeline, out));
	const given = carried.flatMap((key) => (env[key] ? [[key, env[key]] as const] : []));
	const job: ScheduledJob = {
		name,
		command: [
			process.execPath,
			join(packageRoot, "dist", "cli", "main.js"),
			"run",
			resolve(pipeline.file),
			"--as-of",
			"today",
			...(out === undefined ? [] : ["--out", runs]),
			...args,
		],
		folder,
		environment: {
			PATH: [...new Set([join(process.execPath, ".."), "/usr/local/bin", "/usr/bin", "/bin"])].join(":"),
			...Object.fromEntries(given),
		},
		timing,
		limited: has("--deadline") || has("--max-runtime"),
		log: join(folder, `${name}.log`),
		stop: await stopTime(runs, name),
	};
	for (const text of [...job.command, job.folder, ...Object.values(job.environment)]) {
		if (/[\u0000-\u001f\u007f]/.test(text)) {
			throw new FintuneError("E_USAGE", "a control character has no place in a schedule", { found: JSON.stringify(text) });
		}
	}
	return job;
}

/** From the checkpoints that the newest run with any has measured. */
async function stopTime(runs: string, name: string): Promise<StopTime> {
	for (const run of await runsIn(runs, name).catch(() => [])) {
		const saves = (await new RunFolder(run.path).events()).flatMap((e) =>
			e.event === "checkpoint" && typeof e.seconds === "number" ? [e.seconds] : [],
		);
		if (saves.length === 0) continue;
		const slowest = Math.max(...saves);
		return {
			seconds: Math.max(safeStopSeconds, Math.ceil(stopMargin * slowest) + 60),
			why: `the slowest of ${saves.length} checkpoints of ${run.path} took ${slowest.toFixed(1)} s`,
		};
	}
	return { seconds: safeStopSeconds, why: "no checkpoint was measured yet" };
}

/** minute hour day month weekday, for cron and scrontab. */
export function cronFields(timing: Timing): string {
	if ("hour" in timing) return `${timing.minute} ${timing.hour} * * *`;
	const { everyMinutes } = timing;
	if (everyMinutes === 1) return "* * * * *";
	if (everyMinutes < 60) return `*/${everyMinutes} * * * *`;
	return everyMinutes === 60 ? "0 * * * *" : `0 */${everyMinutes / 60} * * *`;
}

/** A word for a POSIX shell. */
export const shellWord = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** Words of a command line for a POSIX shell. */
export const shellWords = (words: readonly string[]): string => words.map(shellWord).join(" ");
