/**
 * `fintune schedule cron|systemd|slurm PIPELINE`: what makes a scheduler run a pipeline, on stdout and nothing else there.
 * Nothing is installed.
 * @module
 */
import { userInfo } from "node:os";
import type { Command } from "commander";
import { FintuneError } from "../errors.js";
import { loadPipeline } from "../pipeline/config.js";
import { parseAsOf } from "../pipeline/dates.js";
import { cronLines } from "../pipeline/schedule/cron.js";
import { dailyAt, everyTime, type ScheduledJob, scheduledJob, shellWords } from "../pipeline/schedule/job.js";
import { scrontabLines, slurmScript } from "../pipeline/schedule/slurm.js";
import { serviceUnit, timerUnit, unitName } from "../pipeline/schedule/systemd.js";
import { parseDeadline } from "../pipeline/stop_time.js";
import { oneOf, seconds } from "./options.js";

interface ScheduleFlags {
	at?: string;
	every?: string;
	out?: string;
	deadline?: string;
	maxRuntime?: string;
	user?: boolean;
	unit?: "service" | "timer";
	scrontab?: string;
}

export function addSchedule(program: Command): Command {
	const command = program.command("schedule").description("print what makes cron, systemd or Slurm run a pipeline every day");
	const add = (name: string, description: string, print: (job: ScheduledJob, flags: ScheduleFlags) => void): Command =>
		command
			.command(name)
			.argument("<pipeline>", "pipeline file (YAML)")
			.argument("[options...]", "further options of fintune run, behind --")
			.description(description)
			.option("--at <time>", "every day at HH:MM (default 02:30)")
			.option("--every <time>", "every 5m, 15m, 1h, 6h ...: a day's run is gone on with, and done once")
			.option("--out <dir>", "folder of the runs (default runs/<name> in the present folder)")
			.option("--deadline <time>", "stop at this time of day, to go on at the next start; with --at")
			.option("--max-runtime <time>", "stop after so long, e.g. 4h, to go on at the next start", checked(seconds))
			.exitOverride()
			.action(async (file: string, options: string[], flags: ScheduleFlags) => print(await jobOf(file, options, flags), flags));
	add("cron", "lines for crontab -e", (job) => {
		process.stdout.write(cronLines(job));
		hint(`add them with crontab -e; progress goes to ${job.log}, and what cron mails is the result`);
	});
	add("systemd", "a service and a timer", printUnits)
		.option("--user", "units of your own (systemctl --user) instead of the system's")
		.option("--unit <unit>", "print one of the two: service or timer", oneOf("service", "timer"));
	add("slurm", "a script for sbatch", (job, { scrontab }) => {
		process.stdout.write(scrontab === undefined ? slurmScript(job) : scrontabLines(job, scrontab));
		hint(`${job.stop.seconds} s to stop: ${job.stop.why}`);
	}).option("--scrontab <script>", "print lines for scrontab -e that run this script, written before");
	return command;
}

async function jobOf(file: string, options: readonly string[], flags: ScheduleFlags): Promise<ScheduledJob> {
	if (flags.at !== undefined && flags.every !== undefined) {
		throw new FintuneError("E_USAGE", "--at and --every exclude each other", { expected: "one of them" });
	}
	const timing = flags.every === undefined ? dailyAt(flags.at ?? "02:30") : everyTime(flags.every);
	if (flags.deadline !== undefined) parseDeadline(flags.deadline);
	const args = [
		...(flags.deadline === undefined ? [] : ["--deadline", flags.deadline]),
		...(flags.maxRuntime === undefined ? [] : ["--max-runtime", flags.maxRuntime]),
		...options,
	];
	const { out } = flags;
	// A pipeline may have its date in it.
	return scheduledJob(await loadPipeline(file, [], parseAsOf("today")), timing, args, out === undefined ? {} : { out });
}

function printUnits(job: ScheduledJob, { user, unit }: ScheduleFlags): void {
	const name = unitName(job);
	const service = serviceUnit(job, user ? "own" : { user: userInfo().username });
	const timer = timerUnit(job);
	if (unit === undefined) process.stdout.write(`# ${name}.service\n${service}\n# ${name}.timer\n${timer}`);
	else process.stdout.write(unit === "service" ? service : timer);
	const folder = user ? "~/.config/systemd/user" : "/etc/systemd/system";
	const control = `systemctl ${user ? "--user " : ""}`;
	hint(
		`put them (--unit service, --unit timer) into ${folder}, then: ${control}daemon-reload; ${control}enable --now ${name}.timer`,
	);
	if (user) hint(`so that it runs while you are not logged in: loginctl ${shellWords(["enable-linger", userInfo().username])}`);
}

/** The text of an option's value, once it can be read. */
const checked =
	(read: (text: string) => unknown) =>
	(text: string): string => {
		read(text);
		return text;
	};

const hint = (text: string): void => void process.stderr.write(`fintune: ${text}\n`);
