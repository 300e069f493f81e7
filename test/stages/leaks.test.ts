/** What the leak check keeps: the same result from the cache as from the comparison itself, on tasks and on files. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it, vi } from "vitest";
import { corpusRows, LeakCheck, trainingRows } from "../../src/stages/leaks.js";
import { taskDataDirs } from "../../src/tasks/data_dirs.js";
import { HeldOut } from "../../src/tasks/held_out.js";
import { taskByName } from "../../src/tasks/registry.js";
import { lines, put } from "../cli/cli.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-leak-cache-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const cache = join(dir, "cache");
const dirs = [join(dir, "data")];
const shipped = taskDataDirs([]);
beforeEach(() => {
	rmSync(cache, { recursive: true, force: true });
	vi.restoreAllMocks();
});

/** What is found in a source, by place. */
const inTask = async (check: LeakCheck, name: string) => {
	const { rows, leaks } = await check.taskRows(taskByName(name), "train");
	return { rows: rows.length, leaks: rows.flatMap((row, i) => (leaks.has(row) ? [[i, leaks.get(row)]] : [])) };
};

describe("what the leak check keeps", () => {
	it("is what the comparison finds in the tasks that ship", async () => {
		const [plain, making, kept] = [new LeakCheck(shipped), new LeakCheck(shipped, cache), new LeakCheck(shipped, cache)];
		for (const name of ["ner", "sc", "german"]) {
			const found = await inTask(plain, name);
			expect(await inTask(making, name)).toEqual(found);
			const find = vi.spyOn(HeldOut.prototype, "find");
			expect(await inTask(kept, name)).toEqual(found);
			expect(find).not.toHaveBeenCalled();
			find.mockRestore();
		}
	});

	it("is what the comparison finds in files; other test texts, rows or readings are compared anew", async () => {
		const held = [
			"Tesco shares climb as grocer returns to profit growth",
			"Central bank leaves its main rate where it was in May",
		];
		const testSet = (texts: string[]) =>
			put(
				join(dir, "data/fpb/test.jsonl"),
				lines(texts.map((text) => ({ query: `Text: ${text}\nAnswer:`, answer: "neutral", choices: ["neutral"], gold: 0, text }))),
			);
		testSet(held.slice(0, 1));
		const rows = [{ text: "Nothing." }, { text: held[0] }, { text: held[1]!.toUpperCase() }, { text: `RPT ${held[0]}` }];
		const path = put(join(dir, "rows.jsonl"), lines(rows));
		const found = async (reading = trainingRows(["text"])) => {
			const kept = [...(await new LeakCheck(dirs, cache).files(path, reading))];
			expect(kept).toEqual([...(await new LeakCheck(dirs).files(path, reading))]);
			return kept;
		};
		const first = [
			[1, "exact"],
			[3, "near"],
		];
		expect(await found()).toEqual(first);
		expect(await found()).toEqual(first);
		const [file] = readdirSync(cache);
		writeFileSync(join(cache, file!), '{"sha256":"","value":[[0,"exact"]]}');
		expect(await found()).toEqual(first);
		expect(readdirSync(cache)).toHaveLength(1);
		await found(corpusRows);
		expect(readdirSync(cache)).toHaveLength(2);
		testSet(held);
		expect(await found()).toEqual([first[0], [2, "normalised"], first[1]]);
		writeFileSync(path, lines(rows.slice(2)));
		expect(await found()).toEqual([
			[0, "normalised"],
			[1, "near"],
		]);
		expect(readdirSync(cache)).toHaveLength(4);
	});
});
