import { mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { finishedRun } from "../pipeline/finished_runs.js";
import { fintune } from "./cli.js";

let dir: string;
let runs: string;
beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-champion-"));
	runs = join(dir, "runs", "nightly");
	for (const [name, right] of [
		["2026-11-24", 20],
		["2026-11-25", 40],
	] as const)
		await finishedRun(join(runs, name), right);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it("champion, champion set and rollback: from the working folder, for people and for programs", async () => {
	expect(await fintune(["champion"], { cwd: dir })).toMatchObject({ status: 66, stdout: "" });
	const link = join(runs, "champion");

	const first = await fintune(["champion", "set", join(runs, "2026-11-24")], { cwd: dir });
	expect(first).toMatchObject({ status: 0, stdout: `${link} -> 2026-11-24\n` });
	const second = await fintune(["champion", "set", join(runs, "2026-11-25"), "--json"], { cwd: dir });
	expect(JSON.parse(second.stdout)).toMatchObject({ link, event: "set", run: "2026-11-25", previous: "2026-11-24" });

	const shown = await fintune(["champion"], { cwd: dir });
	expect(shown.stdout.split("\n")[0]).toBe(`${link} -> ${join(runs, "2026-11-25")}`);
	expect(shown.stdout).toMatch(/set +2026-11-24/);
	// By the machine's clock, as `fintune runs` and `status` have it.
	const [here, far] = await Promise.all(
		["UTC", "Asia/Tokyo"].map(
			async (TZ) => /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/.exec((await fintune(["champion"], { cwd: dir, env: { TZ } })).stdout)![0],
		),
	);
	expect(Date.parse(`${far}Z`) - Date.parse(`${here}Z`)).toBe(9 * 3_600_000);
	const { run, present, history } = JSON.parse((await fintune(["champion", runs, "--json"])).stdout);
	expect({ run, present }).toEqual({ run: join(runs, "2026-11-25"), present: true });
	expect(history).toHaveLength(2);

	expect(await fintune(["rollback"], { cwd: dir })).toMatchObject({
		status: 0,
		stdout: `${link} -> 2026-11-24 (before: 2026-11-25)\n`,
	});
	expect(readlinkSync(link)).toBe("2026-11-24");
	const none = await fintune(["rollback", link]);
	expect(none).toMatchObject({ status: 66, stdout: "" });
	expect(none.stderr).toContain("there is no champion to go back to");
	expect((await fintune(["champion", "set", join(runs, "nowhere")])).status).toBe(66);
});
