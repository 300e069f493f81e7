/**
 * Licences of task data that whoever uses them should know of.
 * @module
 */
import type { Task } from "./task.js";

/** Whether a licence forbids commercial use. */
export const isNonCommercial = (license: string): boolean => /(?:^|-)NC(?:-|$)/.test(license);

/** One line about a task's licence; undefined where there is nothing to say. */
export function licenceNote({ name, license }: Pick<Task, "name" | "license">): string | undefined {
	if (isNonCommercial(license)) return `the data of ${name} are under ${license}: not for commercial use`;
	if (license.startsWith("LicenseRef-")) return `the data of ${name} state no common licence: see where you got them`;
	return undefined;
}

const told = new Set<string>();

/** Says a licence that forbids commercial use, once a process and task. */
export function tellLicence(task: Pick<Task, "name" | "license">, say: (line: string) => void): void {
	if (told.has(task.name) || !isNonCommercial(task.license)) return;
	told.add(task.name);
	say(licenceNote(task) as string);
}
