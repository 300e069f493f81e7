/**
 * Licences of task data that whoever uses them should know of.
 * @module
 */
import type { Task } from "./task.js";

/** Whether a licence forbids commercial use. */
const isNonCommercial = (license: string): boolean => /(?:^|-)NC(?:-|$)/.test(license);

/** One line about a task's licence; undefined where there is nothing to say. */
export function licenceNote({ name, license }: Pick<Task, "name" | "license">): string | undefined {
	if (isNonCommercial(license)) return `the data of ${name} are under ${license}: not for commercial use`;
	if (license.startsWith("LicenseRef-")) return `the data of ${name} state no common licence: see where you got them`;
	return undefined;
}
