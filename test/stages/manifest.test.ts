import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { verifiedManifest, writeManifest } from "../../src/stages/manifest.js";
import { put } from "../cli/cli.js";

const dir = mkdtempSync(join(tmpdir(), "fintune-manifest-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let folder: string;
let count = 0;
beforeEach(() => {
	folder = join(dir, `${++count}`);
	put(join(folder, "stage.json"), '{"a":1}\n');
	put(join(folder, "adapter", "weights.bin"), Buffer.from([1, 2, 3, 4]));
	put(join(folder, "checkpoints", "checkpoint-1", "big.bin"), "not the stage's concern");
});
/** Turns one bit of a file around. */
function flip(path: string, bit: number): void {
	const bytes = readFileSync(path);
	bytes[bit >> 3]! ^= 1 << (bit & 7);
	writeFileSync(path, bytes);
}

describe("a folder's manifest", () => {
	it("lists every file with size and sha256, but for what has manifests of its own", async () => {
		const manifest = await writeManifest(folder, "checkpoints");
		expect(manifest.files).toEqual({
			"adapter/weights.bin": { size: 4, sha256: "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a" },
			"stage.json": { size: 8, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
		});
		expect(await verifiedManifest(folder)).toEqual(manifest);
	});

	it("is absent where it was not written", async () => {
		expect(await verifiedManifest(folder)).toBeUndefined();
	});

	it("tells a changed, a shortened and a missing file", async () => {
		await writeManifest(folder, "checkpoints");
		const path = join(folder, "adapter", "weights.bin");
		flip(path, 17);
		expect(await verifiedManifest(folder)).toEqual({
			file: "adapter/weights.bin",
			why: expect.stringMatching(/^expected sha256 9f64a747e1b9\.\.\., found/),
		});
		truncateSync(path, 3);
		expect(await verifiedManifest(folder)).toEqual({ file: "adapter/weights.bin", why: "expected 4 bytes, found 3" });
		rmSync(path);
		expect(await verifiedManifest(folder)).toEqual({ file: "adapter/weights.bin", why: "it is missing" });
	});

	it("notices a bit that flips in any of its own bytes", async () => {
		await writeManifest(folder, "checkpoints");
		const path = join(folder, "manifest.json");
		const bits = readFileSync(path).length * 8;
		expect(bits).toBeGreaterThan(2000);
		// Every byte, and each of the eight bits equally often.
		for (let bit = 0; bit < bits; bit += 9) {
			flip(path, bit);
			const found = await verifiedManifest(folder);
			expect(found, `bit ${bit}`).toEqual({ file: "manifest.json", why: "its own sha256 differs" });
			flip(path, bit);
		}
		expect(await verifiedManifest(folder)).toHaveProperty("files");
	});
});
