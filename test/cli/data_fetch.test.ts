/** `fintune data fetch` as people and scripts call it, against a hub on this machine. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { HubServer } from "../tasks/import/hub_server.js";
import { fintune, lines } from "./cli.js";

const rows = [0, 1].map((i) => ({ id: `ma${i}`, query: `${i}?`, answer: "rumour", choices: ["rumour"], gold: 0, text: `${i}` }));
const commit = "3".repeat(40);

let dir: string;
let hub: HubServer;
let env: Record<string, string>;
beforeEach(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-fetch-cli-"));
	hub = new HubServer("TheFinAI/flare-ma");
	await hub.start();
	hub.refs.main = commit;
	hub.commits[commit] = { "data/test.jsonl": { content: Buffer.from(lines(rows)) } };
	env = { HF_HOME: join(dir, "hf"), HF_HUB_CACHE: "", HF_ENDPOINT: hub.endpoint, FINTUNE_DATA: join(dir, "data"), HF_TOKEN: "" };
});
afterEach(async () => {
	await hub.stop();
	rmSync(dir, { recursive: true, force: true });
});

it("prints one document, and the licence's note once on stderr; the set is then there", async () => {
	const { status, stdout, stderr } = await fintune(["data", "fetch", "MA", "--json"], { env });
	expect(status).toBe(0);
	expect(JSON.parse(stdout)).toMatchObject({
		folder: join(dir, "data", "ma"),
		task: "ma",
		origin: { repository: "TheFinAI/flare-ma", revision: "main", commit },
		splits: { test: { rows: 2, boardRows: 500 } },
		downloaded: { files: 1, bytes: Buffer.byteLength(lines(rows)) },
	});
	expect(stderr).toBe("fintune: the data of ma state no common licence: see where you got them\n");
	expect(
		readFileSync(join(dir, "data", "ma", "test.jsonl"), "utf8")
			.trim()
			.split("\n"),
	).toHaveLength(2);
	const shown = await fintune(["tasks", "show", "ma", "--json"], { env });
	expect(JSON.parse(shown.stdout)).toMatchObject({ status: "here" });
});

it("prints a table for people, offline too", async () => {
	await fintune(["data", "fetch", "ma"], { env });
	hub.asked.length = 0;
	const { status, stdout } = await fintune(["data", "fetch", "ma", "--revision", "main"], {
		env: { ...env, HF_HUB_OFFLINE: "1" },
	});
	expect(status).toBe(0);
	expect(stdout).toMatch(/test\s+2\s+500\s+rumour 2/);
	expect(stdout).toContain("differs: ma test: 2 rows, the leaderboard has 500");
	expect(hub.asked).toEqual([]);
});

it("ends with the status of what went wrong, and prints nothing", async () => {
	hub.gate = "hf_x";
	const gated = await fintune(["data", "fetch", "ma", "--json"], { env });
	expect([gated.status, gated.stdout]).toEqual([77, ""]);
	expect(gated.stderr).toMatch(/does not let you read this data set.*Accept its licence.*E_PERMISSION/s);
	const { status, stderr } = await fintune(["data", "fetch", "ma"], { env: { ...env, HF_ENDPOINT: "http://127.0.0.1:9" } });
	expect(status).toBe(75);
	expect(stderr).toMatch(/cannot be reached/);
	expect(readdirSync(dir)).not.toContain("data");
});
