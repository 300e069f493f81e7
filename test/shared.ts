/**
 * Where the shared fixtures lie that are not part of the repository (task data under non-commercial licences,
 * goldens of other programs). Tests that need them skip with a reason where they are absent.
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = process.env.FINTUNE_SHARED ?? resolve(dirname(fileURLToPath(import.meta.url)), "../../shared");

/** True where the shared fixtures exist. */
export const hasShared = existsSync(resolve(root, "fixtures"));

/** Absolute path below the shared folder. */
export const sharedPath = (...parts: string[]): string => resolve(root, ...parts);

/** What a skipped test says. */
export const whyNoShared = `needs the shared fixtures (FINTUNE_SHARED or ${root})`;

/** One entry of fixtures/golden/numeric-facts.json: a value that the tests of another library hold. */
export function numericFact<T>(name: string): T {
	const all = JSON.parse(readFileSync(sharedPath("fixtures/golden/numeric-facts.json"), "utf8")) as { name: string }[];
	const fact = all.find((f) => f.name === name);
	if (!fact) throw new Error(`numeric-facts.json has no ${name}`);
	return fact as T;
}
