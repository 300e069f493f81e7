/**
 * Lines for a crontab. cron starts a job with hardly any environment, without a terminal and whether or not the one before
 * has ended, and mails what it prints: so everything is absolute, progress goes to a file, and a firing that meets a run in
 * progress says nothing.
 * @module
 */
import { cronFields, type ScheduledJob, shellWord, shellWords } from "./job.js";

/** Progress goes to the log; what is mailed is the result, or the end of the log where there was none. */
export function cronLines(job: ScheduledJob): string {
	const log = shellWord(job.log);
	const script =
		`cd ${shellWord(job.folder)} && { ${shellWords(job.command)} 2>>${log}` +
		` || { s=$?; [ $s = 75 ] || tail -n 5 ${log}; exit $s; }; }`;
	const environment = Object.entries({ SHELL: "/bin/sh", ...job.environment }).map(([key, value]) => `${key}=${quoted(value)}`);
	return [
		`# fintune ${job.name}. Status 75 (a run in progress holds the folder, or it stopped and goes on at the next firing) is`,
		"# not mailed; no flock is needed. cron does not make up for what the machine slept through: --catch-up last does.",
		"#MAILTO=you@example.org",
		...environment,
		`${cronFields(job.timing)} ${percentEscaped(script)}`,
		"",
	].join("\n");
}

/** A value of a crontab's environment line; nothing is expanded in it. */
const quoted = (value: string): string =>
	/^[\w@%+=:,./-]*$/.test(value) ? value : value.includes('"') ? `'${value}'` : `"${value}"`;

/** cron ends the command at a bare %, quoted or not. */
const percentEscaped = (script: string): string => script.replaceAll("%", "\\%");
