import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { lockRunFolder } from "../../src/pipeline/lock.js";
import { fintune, lines, put } from "../cli/cli.js";
import { smallSft, tinyModel } from "./tiny.js";

let dir: string;
let pipeline: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-lock-"));
	await tinyModel(join(dir, "model"));
	put(join(dir, "rows.jsonl"), lines([{ prompt: "Row 1:", completion: " yes" }]));
	const stage = smallSft({ max_steps: 300 });
	pipeline = put(
		join(dir, "p.yaml"),
		stringify({ name: "small", model: "model", device: "cpu", dtype: "f32", threads: 1, stages: [stage] }),
	);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const folder = (name: string): string => {
	mkdirSync(join(dir, name), { recursive: true });
	return join(dir, name);
};
const files = (out: string) =>
	(readdirSync(out, { recursive: true }) as string[]).sort().map((name) => [name, statSync(join(out, name)).mtimeMs]);

describe("the lock of a run folder", () => {
	it("is held once, says by whom, and is free again after its release", async () => {
		const out = folder("once");
		const lock = await lockRunFolder(out);
		const holder = JSON.parse(readFileSync(join(out, ".lock"), "utf8"));
		expect(holder).toEqual({ pid: process.pid, host: hostname(), started: expect.any(String) });
		expect(Math.abs(Date.parse(holder.started) - Date.now())).toBeLessThan(60_000);
		await expect(lockRunFolder(out)).rejects.toMatchObject({ code: "E_LOCKED", exitStatus: 75 });
		lock.release();
		(await lockRunFolder(out)).release();
	});

	it("names the file where it cannot be made", async () => {
		mkdirSync(join(folder("odd"), ".lock"));
		await expect(lockRunFolder(folder("odd"))).rejects.toMatchObject({ code: "E_NOT_FOUND", where: join(dir, "odd", ".lock") });
	});

	it("makes a second run exit 75 at once, with one line, and touch nothing", async () => {
		const out = folder("busy");
		const lock = await lockRunFolder(out);
		const before = files(out);
		const { started } = JSON.parse(readFileSync(join(out, ".lock"), "utf8"));
		const times = { start: [] as number[], second: [] as number[] };
		for (let i = 0; i < 3; i++) {
			const begun = performance.now();
			await fintune(["--version"]);
			times.start.push(performance.now() - begun);
			const second = await fintune(["run", pipeline, "--out", out]);
			times.second.push(performance.now() - begun - times.start[i]!);
			expect(second).toMatchObject({
				status: 75,
				stdout: "",
				stderr: `fintune: ${out}: another run holds this folder: pid ${process.pid} on ${hostname()} since ${started} (E_LOCKED)\n`,
			});
		}
		lock.release();
		expect(files(out)).toEqual(before);
		// The quickest of three, over what the program needs to start: the machine may be busy with other tests.
		expect(Math.min(...times.second) - Math.min(...times.start)).toBeLessThan(500);
	});

	it("--wait waits for the other run, and gives up when the time is over", async () => {
		const out = folder("wait");
		const lock = await lockRunFolder(out);
		const early = await fintune(["run", pipeline, "--out", out, "--wait", "1s"]);
		expect(early.status).toBe(75);
		expect(early.stderr).toMatch(/waiting for the run that holds this folder: pid \d+[\s\S]*another run holds this folder/);
		const waited = await fintune(["run", pipeline, "--out", out, "--wait", "2m"], {
			onStderr: (text) => {
				if (text.includes("waiting for the run")) lock.release();
			},
		});
		expect(waited).toMatchObject({ status: 0 });
		expect((await fintune(["run", pipeline, "--out", out, "--wait", "soon"])).status).toBe(64);
	});

	it("is no longer waited for once the run is told to stop", async () => {
		const lock = await lockRunFolder(folder("stopped"));
		const controller = new AbortController();
		const waiting = lockRunFolder(folder("stopped"), {
			waitSeconds: 60,
			signal: controller.signal,
			onWait: () => controller.abort(),
		});
		await expect(waiting).rejects.toMatchObject({ code: "E_ABORTED", exitStatus: 75 });
		lock.release();
	});

	it("ends with a process that is killed", async () => {
		const out = join(dir, "killed");
		const killed = await fintune(["run", pipeline, "--out", out], {
			onStderr: (_, child) => void child.kill("SIGKILL"),
		});
		expect(killed.signal).toBe("SIGKILL");
		expect(JSON.parse(readFileSync(join(out, ".lock"), "utf8")).pid).not.toBe(process.pid);
		expect((await fintune(["run", pipeline, "--out", out])).status).toBe(0);
	});
});
