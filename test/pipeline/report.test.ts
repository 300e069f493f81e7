/** report.html of a run that has nothing new to show, of one that is damaged, and the command that writes it again. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lockRunFolder } from "../../src/pipeline/lock.js";
import { fintune, lines, put } from "../cli/cli.js";
import { pipelineText, smallSft, tinyModel, tinyTaskData } from "./tiny.js";

let dir: string;
let out: string;
let report: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-report-"));
	await tinyModel(join(dir, "model"));
	tinyTaskData(join(dir, "data"));
	put(join(dir, "rows.jsonl"), lines([{ prompt: "Row 1:", completion: " yes" }]));
	out = join(dir, "out");
	report = join(out, "report.html");
	put(join(dir, "p.yaml"), pipelineText([smallSft()]));
	await run();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function run(): Promise<string> {
	const { status, stderr } = await fintune(["run", join(dir, "p.yaml"), "--out", out]);
	expect(status, stderr).toBe(0);
	return readFileSync(report, "utf8");
}

describe("report.html", () => {
	it("stays as it is where there was nothing to do", async () => {
		const before = readFileSync(report, "utf8");
		expect(before).toContain('<span class="badge good">done</span>');
		expect(await run()).toBe(before);
	});

	it("is made again where a byte of it is another", async () => {
		const before = readFileSync(report, "utf8");
		writeFileSync(report, before.replace("<main>", "<mane>"));
		const after = await run();
		expect(after).toContain("<main>");
		expect(after).not.toContain("<mane>");
	});
});

describe("fintune report", () => {
	it("writes it again, and waits for no run that holds the folder: 75, which names it", async () => {
		rmSync(report);
		expect(await fintune(["report", out])).toMatchObject({ status: 0, stdout: `done: ${report}\n` });
		const before = readFileSync(report, "utf8");
		writeFileSync(report, "the run's own");
		const lock = await lockRunFolder(out);
		try {
			const { status, stderr } = await fintune(["report", out]);
			expect(status).toBe(75);
			expect(stderr).toContain(`pid ${process.pid} on `);
			expect(readFileSync(report, "utf8")).toBe("the run's own");
		} finally {
			lock.release();
		}
		expect((await fintune(["report", out])).status).toBe(0);
		expect(readFileSync(report, "utf8").length).toBeGreaterThan(before.length / 2);
	});

	it("leaves a folder alone that no run made", async () => {
		const { status } = await fintune(["report", dir]);
		expect(status).toBe(66);
		expect(() => statSync(join(dir, ".lock"))).toThrow();
	});
});
