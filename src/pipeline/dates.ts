/**
 * Runs that belong to a date: what `--as-of` means, where such runs lie, and which dates `--catch-up` adds.
 * @module
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { FintuneError, fromSystemError } from "../errors.js";
import { cameToItsEnd } from "./failure.js";
import { RunFolder } from "./folder.js";

/** Which missed dates are run before the one that was asked for. */
export const catchUpModes = ["none", "last", "all"] as const;
export type CatchUp = (typeof catchUpModes)[number];

const datePattern = /^\d{4}-\d{2}-\d{2}$/;

/**
 * A date as YYYY-MM-DD. `today` and `yesterday` are those of the local time zone.
 * @throws FintuneError E_USAGE
 */
export function parseAsOf(text: string, now = new Date()): string {
	const day = (offset: number): string => isoDate(Date.UTC(now.getFullYear(), now.getMonth(), now.getDate() + offset));
	if (text === "today") return day(0);
	if (text === "yesterday") return day(-1);
	if (datePattern.test(text) && isoDate(Date.parse(text)) === text) return text;
	throw new FintuneError("E_USAGE", `--as-of ${text} is no date`, { expected: "YYYY-MM-DD, today or yesterday" });
}

/**
 * The dates to run, oldest first; the last is `asOf`. Missed are the dates between the newest finished run before `asOf`
 * and `asOf` itself; where none has finished, those since the oldest run that was begun. `last` runs the newest of them.
 * @param folder the folder that holds a run folder for each date
 */
export async function datesToRun(folder: string, asOf: string, catchUp: CatchUp): Promise<string[]> {
	if (catchUp === "none") return [asOf];
	const earlier = (await datedRuns(folder)).filter((date) => date < asOf);
	let first: string | undefined;
	for (const date of earlier.toReversed()) {
		if (await hasFinished(join(folder, date))) {
			first = dayAfter(date);
			break;
		}
		first = date;
	}
	const missed: string[] = [];
	for (let date = first ?? asOf; date < asOf; date = dayAfter(date)) missed.push(date);
	return [...(catchUp === "all" ? missed : missed.slice(-1)), asOf];
}

/** Names of the run folders that are dates, oldest first. */
async function datedRuns(folder: string): Promise<string[]> {
	try {
		return (await readdir(folder)).filter((name) => datePattern.test(name)).sort();
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
		throw fromSystemError(error, folder);
	}
}

async function hasFinished(folder: string): Promise<boolean> {
	const result = await new RunFolder(folder).result();
	return result !== undefined && cameToItsEnd(result);
}

const dayAfter = (date: string): string => isoDate(Date.parse(date) + 86_400_000);
const isoDate = (milliseconds: number): string =>
	Number.isNaN(milliseconds) ? "" : new Date(milliseconds).toISOString().slice(0, 10);
