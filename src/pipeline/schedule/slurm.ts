/**
 * A batch script for Slurm, and the lines for scrontab. Slurm signals the batch shell only, so the shell hands it on. The
 * end of the job's time has a signal of its own: only then does the script put the job into the queue again; after a
 * preemption --requeue does, and a job that somebody cancels stays cancelled.
 * @module
 */
import { cronFields, type ScheduledJob, shellWord, shellWords } from "./job.js";

/** How often a job goes back into the queue: a run that never gets further must come to an end. */
const mostRestarts = 50;

/** For sbatch, by hand or from scrontab. */
export function slurmScript(job: ScheduledJob): string {
	const { PATH, ...others } = job.environment;
	const environment = [
		// Behind what the cluster sets up: its scontrol comes first.
		`export PATH="$PATH":${shellWord(PATH!.split(":")[0]!)}`,
		...Object.entries(others).map(([key, value]) => `export ${key}=${shellWord(value)}`),
	];
	return ["#!/bin/bash", ...options(job).map((option) => `#SBATCH ${option}`), ...environment, ...body(job), ""].join("\n");
}

/** For `scrontab -e`; the script lies at this path. */
export const scrontabLines = (job: ScheduledJob, script: string): string =>
	[...options(job).map((option) => `#SCRON ${option}`), `${cronFields(job.timing)} ${shellWord(script)}`, ""].join("\n");

/** Of the job. */
const options = (job: ScheduledJob): string[] => [
	`--job-name=fintune-${job.name}`,
	`--output=${shellWord(job.log.replaceAll("%", "%%"))}`,
	"--open-mode=append",
	// Seconds before the end of the job's time; Slurm may send it up to a minute early.
	`--signal=B:USR1@${job.stop.seconds}`,
	"--requeue",
	"--dependency=singleton",
];

const body = (job: ScheduledJob): string[] => [
	`cd ${shellWord(job.folder)} || exit 73`,
	"signalled= time_is_up=",
	'hand_on() { signalled=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null; }',
	"trap hand_on TERM",
	"trap 'time_is_up=1; hand_on' USR1",
	`${shellWords(job.command)} &`,
	"child=$!",
	"# wait ends early when a signal comes: the run then saves, and is waited for again.",
	'wait "$child"',
	"status=$?",
	'while [ -n "$signalled" ]; do',
	"	signalled=",
	'	wait "$child"',
	"	status=$?",
	"done",
	"# 75: stopped and resumable.",
	`if [ -n "$time_is_up" ] && [ "$status" -eq 75 ] && [ "\${SLURM_RESTART_COUNT:-0}" -lt ${mostRestarts} ]; then`,
	'	scontrol requeue "$SLURM_JOB_ID"',
	"fi",
	'exit "$status"',
];
