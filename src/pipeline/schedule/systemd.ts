/**
 * A systemd service and its timer. The service stops by a signal to fintune alone, has the time to save, starts again where
 * it says "try again" and never where the same start would fail the same way.
 * @module
 */
import { ExitStatus, FintuneError } from "../../errors.js";
import type { ScheduledJob, Timing } from "./job.js";

/** Whose units: the system's, run by somebody, or a user's own. */
export type Owner = { user: string } | "own";

const mostRestarts = 50;
const startsADay = (timing: Timing): number => ("hour" in timing ? 1 : 1440 / timing.everyMinutes);

/** After these the same start would end the same way. */
const hopeless = [
	ExitStatus.usage,
	ExitStatus.dataError,
	ExitStatus.noInput,
	ExitStatus.unavailable,
	ExitStatus.software,
	ExitStatus.cannotCreate,
	ExitStatus.noPermission,
	ExitStatus.config,
];

/** NAME.service. Not oneshot: such a service may not be started again by its status. */
export function serviceUnit(job: ScheduledJob, owner: Owner): string {
	const environment = Object.entries(job.environment).map(([key, value]) => `Environment=${quoted(`${key}=${value}`)}`);
	return lines([
		"[Unit]",
		`Description=fintune ${percent(job.name)}`,
		"# Restarts in a day, before somebody has to look.",
		"StartLimitIntervalSec=1d",
		`StartLimitBurst=${startsADay(job.timing) + mostRestarts}`,
		"",
		"[Service]",
		"Type=exec",
		...(owner === "own" ? [] : [`User=${owner.user}`]),
		`WorkingDirectory=${percent(job.folder)}`,
		...environment,
		`ExecStart=${job.command.map(execWord).join(" ")}`,
		`# ${job.stop.why}`,
		`TimeoutStopSec=${job.stop.seconds}`,
		"KillMode=mixed",
		"# 75: stopped, or the folder is held. 3: a gate or a promotion said no, which is an answer, not a failure.",
		"Restart=on-failure",
		"RestartSec=60",
		...(job.limited
			? ["# Its time was over: it goes on when the timer starts it again."]
			: [`RestartForceExitStatus=${ExitStatus.tryAgain}`]),
		`RestartPreventExitStatus=${hopeless.join(" ")}`,
		`SuccessExitStatus=${ExitStatus.gateNotPassed} ${ExitStatus.tryAgain}`,
	]);
}

/** NAME.timer: starts it at its times, once more after a missed one; a service that still runs is left alone. */
export const timerUnit = (job: ScheduledJob): string =>
	lines([
		"[Unit]",
		`Description=when fintune ${percent(job.name)} runs`,
		"",
		"[Timer]",
		`OnCalendar=${calendar(job.timing)}`,
		"Persistent=true",
		`Unit=${unitName(job)}.service`,
		"",
		"[Install]",
		"WantedBy=timers.target",
	]);

/** The units' name. */
export const unitName = ({ name }: Pick<ScheduledJob, "name">): string => `fintune-${name}`;

const lines = (text: readonly string[]): string => `${text.join("\n")}\n`;

function calendar(timing: Timing): string {
	const two = (value: number): string => String(value).padStart(2, "0");
	if ("hour" in timing) return `*-*-* ${two(timing.hour)}:${two(timing.minute)}:00`;
	const { everyMinutes } = timing;
	return everyMinutes < 60 ? `*-*-* *:0/${everyMinutes}:00` : `*-*-* 0/${everyMinutes / 60}:00:00`;
}

const percent = (text: string): string => text.replaceAll("%", "%%");

/** A word in quotes, with the escapes that systemd reads. */
const quoted = (text: string): string => `"${percent(text).replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

/** A word of a command: systemd would take $ for a variable. */
function execWord(text: string, index: number): string {
	if (index === 0 && /[\s"'\\]/.test(text)) {
		throw new FintuneError("E_USAGE", "systemd cannot start a program of this name", {
			found: text,
			hint: "link node to a plain path",
		});
	}
	const escaped = text.replaceAll("$", "$$$$");
	return /^[\w@+=:,./-]+$/.test(text) ? text : quoted(escaped);
}
