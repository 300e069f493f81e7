import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { JsonLinesFile } from "../../src/stages/files.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-files-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("a file of JSON lines that grows", () => {
	it("holds every line as soon as it was appended, and starts empty", async () => {
		const path = join(dir, "rows.jsonl");
		writeFileSync(path, "what an earlier run left, longer than what follows\n");
		const file = await JsonLinesFile.create(path);
		expect(readFileSync(path, "utf8")).toBe("");
		await file.append({ step: 1, text: "a\nb" });
		expect(readFileSync(path, "utf8")).toBe('{"step":1,"text":"a\\nb"}\n');
		await file.append({ step: 2 });
		await file.close();
		expect(readFileSync(path, "utf8")).toBe('{"step":1,"text":"a\\nb"}\n{"step":2}\n');
	});

	it("names the file that cannot be made", async () => {
		await expect(JsonLinesFile.create(join(dir, "gone", "rows.jsonl"))).rejects.toMatchObject({ code: "E_NOT_FOUND" });
	});

	it("takes a line back that could only be written in part, and goes on when there is room again", async () => {
		const path = join(dir, "short.jsonl");
		const file = await JsonLinesFile.create(path);
		await file.append({ step: 1 });
		const handle = await open(path);
		const prototype = Object.getPrototypeOf(handle) as FileHandle;
		await handle.close();
		const original = prototype.write as (...args: unknown[]) => Promise<unknown>;
		const write = vi.spyOn(prototype, "write");
		write.mockImplementationOnce(function (this: FileHandle, bytes: Uint8Array, offset: number, _: unknown, position: number) {
			return original.call(this, bytes, offset, 3, position);
		} as never);
		write.mockRejectedValueOnce(Object.assign(new Error("no space"), { code: "ENOSPC" }));
		await expect(file.append({ step: 2 })).rejects.toMatchObject({ code: "E_IO", where: path });
		expect(write).toHaveBeenCalledTimes(2);
		expect(readFileSync(path, "utf8")).toBe('{"step":1}\n');
		write.mockRestore();
		await file.append({ step: 3 });
		await file.close();
		expect(readFileSync(path, "utf8")).toBe('{"step":1}\n{"step":3}\n');
	});

	it.skipIf(!existsSync("/dev/full"))("says when the disk is full", async () => {
		const file = await JsonLinesFile.create("/dev/full");
		await expect(file.append({ step: 1 })).rejects.toMatchObject({ code: "E_IO", where: "/dev/full" });
		await file.close().catch(() => undefined);
	});
});
