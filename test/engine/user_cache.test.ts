/** Values that are kept in the user's cache: made once, never believed where damaged, whole for any number of writers. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { cached, userCacheFolder } from "../../src/engine/user_cache.js";

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fintune-cache-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const isNumbers = (value: unknown): value is number[] => Array.isArray(value) && value.every((n) => typeof n === "number");
let made = 0;
const ask = (more: Partial<Parameters<typeof cached<number[]>>[0]> = {}) =>
	cached({ folder, name: "a.json", isValue: isNumbers, make: () => [++made], ...more });

it("makes a value once, and none where nothing is kept", async () => {
	const first = await ask();
	expect(await ask()).toEqual(first);
	expect(await ask({ name: "b.json" })).not.toEqual(first);
	expect(await ask({ folder: undefined })).not.toEqual(first);
	expect(readdirSync(folder).sort()).toEqual(["a.json", "b.json"]);
});

it("never believes a damaged file, whichever bit it is, or where it ends", async () => {
	await ask({ make: () => [17] });
	const path = join(folder, "a.json");
	const whole = readFileSync(path);
	for (let bit = 0; bit < 8 * whole.length; bit += 5) {
		const bytes = Buffer.from(whole);
		bytes[bit >> 3]! ^= 1 << (bit & 7);
		writeFileSync(path, bytes);
		expect(await ask({ make: () => [17] })).toEqual([17]);
		writeFileSync(path, bytes.subarray(0, bit >> 3));
		expect(await ask({ make: () => [18] })).toEqual([18]);
	}
});

it("keeps nothing whose inputs have changed meanwhile", async () => {
	await ask({ holds: async () => false });
	expect(readdirSync(folder)).toEqual([]);
});

it("gives the value all the same where the folder cannot be written", async () => {
	writeFileSync(join(folder, "file"), "");
	expect(await ask({ folder: join(folder, "file", "below"), make: () => [5] })).toEqual([5]);
});

it("stays whole with many writers at once", async () => {
	const values = await Promise.all(Array.from({ length: 40 }, () => ask({ make: () => [7, 8] })));
	expect(values).toEqual(Array(40).fill([7, 8]));
	expect(readdirSync(folder)).toEqual(["a.json"]);
	expect(await ask({ make: () => [0] })).toEqual([7, 8]);
});

it("removes what has not been renewed for long", async () => {
	mkdirSync(folder, { recursive: true });
	writeFileSync(join(folder, "old.json"), "{}");
	const longAgo = Date.now() / 1000 - 100 * 86_400;
	utimesSync(join(folder, "old.json"), longAgo, longAgo);
	await ask();
	expect(readdirSync(folder)).toEqual(["a.json"]);
});

it("lies in the user's cache folder", () => {
	expect(userCacheFolder("leaks", { XDG_CACHE_HOME: "/c" })).toBe("/c/fintune/leaks");
});
