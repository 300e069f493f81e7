/**
 * Whether a process that a file names is still there.
 * @module
 */
import { readFileSync } from "node:fs";

/** Whether a process of this host has this number now. */
export function isAlive(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch (error) {
		return (error as NodeJS.ErrnoException).code === "EPERM";
	}
}

/**
 * When a process was started, as the kernel counts it since a boot that is named with it: another process that was given
 * the same number later, or after a reboot, has another answer. undefined where the system does not say (not Linux).
 */
export function processStart(pid: number): string | undefined {
	try {
		const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
		const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
		// The name before the last ")" may hold anything; the start is the 22nd field, the 20th behind the name.
		const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
		return ticks === undefined ? undefined : `${boot}/${ticks}`;
	} catch {
		return undefined;
	}
}
