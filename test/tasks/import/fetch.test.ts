/** Fetching a task's rows from a hub: what arrives, what the cache then holds, and what each refusal says. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { scanCacheDir } from "@huggingface/hub";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createProgress } from "../../../src/report/progress.js";
import { fetchTask } from "../../../src/tasks/import/fetch.js";
import { hubSettings } from "../../../src/tasks/import/hub_client.js";
import { chooseRowFiles } from "../../../src/tasks/import/hub_rows.js";
import { taskByName } from "../../../src/tasks/registry.js";
import { gitBlob, HubServer, sha256 } from "./hub_server.js";

const ma = taskByName("ma");
const first = "1".repeat(40);
const second = "2".repeat(40);

const row = (i: number) => ({
	id: `ma${i}`,
	query: `Is it done? ${i}\nAnswer:`,
	answer: i % 2 ? "complete" : "rumour",
	choices: ["complete", "rumour"],
	gold: i % 2 ? 0 : 1,
	text: `text ${i} ${"and more ".repeat(i % 7)}`,
});
const rows = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => row(from + i));
const jsonl = (of: readonly unknown[]) => Buffer.from(of.map((r) => `${JSON.stringify(r)}\n`).join(""));

/** The rows as the hub's own conversion writes them. */
function parquet(of: readonly ReturnType<typeof row>[]): Buffer {
	const text = (name: string) => ({ name, type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" }) as const;
	const texts = ["id", "query", "answer", "text"] as const;
	return Buffer.from(
		parquetWriteBuffer({
			columnData: [...texts, "gold" as const, "choices" as const].map((name) => ({
				name,
				data: of.map((r) => (name === "gold" ? BigInt(r.gold) : r[name])),
			})),
			schema: [
				{ name: "root", num_children: 6 },
				...texts.map(text),
				{ name: "gold", type: "INT64", repetition_type: "OPTIONAL" },
				{ name: "choices", converted_type: "LIST", repetition_type: "OPTIONAL", num_children: 1 },
				{ name: "list", repetition_type: "REPEATED", num_children: 1 },
				text("element"),
			],
		}),
	);
}

const trainFile = "data/train-00000-of-00001-abc.parquet";
const testFile = "data/test-00000-of-00001-abc.parquet";

let dir: string;
let hub: HubServer;
let env: Record<string, string>;
beforeEach(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-fetch-test-"));
	hub = new HubServer(ma.board.hub);
	await hub.start();
	env = { HF_HOME: join(dir, "hf"), HF_ENDPOINT: `${hub.endpoint}/` };
	hub.refs.main = first;
	hub.commits[first] = {
		".gitattributes": { content: Buffer.from("*.parquet filter=lfs\n") },
		"README.md": { content: Buffer.from("# rows\n") },
		[trainFile]: { content: parquet(rows(0, 300)), lfs: true },
		[testFile]: { content: parquet(rows(300, 500)), lfs: true },
	};
});
afterEach(async () => {
	await hub.stop();
	rmSync(dir, { recursive: true, force: true });
});

const fetchMa = (more: Parameters<typeof fetchTask>[2] = {}) => fetchTask(ma, join(dir, "data"), { env, ...more });
const repository = () => join(dir, "hf", "hub", "datasets--TheFinAI--flare-ma");
const blobs = () => (existsSync(join(repository(), "blobs")) ? readdirSync(join(repository(), "blobs")).sort() : []);
const content = (path: string, commit = first) => hub.commits[commit]?.[path]?.content as Buffer;
const plainCommit = (files: Record<string, Buffer>) =>
	Object.fromEntries(Object.entries(files).map(([path, bytes]) => [path, { content: bytes }]));

/** What a refusal says; it must leave neither rows nor a name in the cache. */
async function refused(work: Promise<unknown>) {
	const error = await work.then(
		() => expect.fail("this was to be refused"),
		(thrown: { code: string; exitStatus: number; message: string }) => thrown,
	);
	expect(existsSync(join(dir, "data", "ma"))).toBe(false);
	expect(existsSync(join(repository(), "snapshots"))).toBe(false);
	expect(existsSync(join(repository(), "refs"))).toBe(false);
	return error;
}

describe("a fetch", () => {
	it("brings the rows served, and a manifest with repository, commit and hashes", async () => {
		const { folder, manifest, differences, downloaded } = await fetchMa();
		for (const [split, served] of [
			["train", rows(0, 300)],
			["test", rows(300, 500)],
		] as const) {
			const kept = readFileSync(join(folder, `${split}.jsonl`), "utf8")
				.trim()
				.split("\n");
			expect(kept.map((line) => JSON.parse(line))).toEqual(served);
		}
		expect(manifest).toMatchObject({
			task: "ma",
			kind: "hub",
			license: ma.license,
			ruleVersion: 1,
			origin: { repository: "TheFinAI/flare-ma", revision: "main", commit: first },
		});
		const source = (path: string) => ({
			name: path.slice("data/".length),
			sha256: sha256(content(path)),
			bytes: content(path).byteLength,
		});
		expect(manifest.sources).toEqual(expect.arrayContaining([source(trainFile), source(testFile)]));
		expect(downloaded).toEqual({ files: 2, bytes: content(trainFile).byteLength + content(testFile).byteLength });
		expect(differences).toEqual(["ma test: 200 rows, the leaderboard has 500"]);
	});

	it("leaves the cache as the standard has it", async () => {
		await fetchMa();
		const { repos, warnings } = await scanCacheDir(join(dir, "hf", "hub"));
		expect(warnings).toEqual([]);
		expect(repos.map(({ id, revisions }) => [id.name, revisions.map(({ commitOid, refs }) => [commitOid, refs])])).toEqual([
			["TheFinAI/flare-ma", [[first, ["main"]]]],
		]);
		expect(readFileSync(join(repository(), "refs", "main"), "utf8")).toBe(first);
		expect(blobs()).toEqual([sha256(content(trainFile)), sha256(content(testFile))].sort());
		expect(readlinkSync(join(repository(), "snapshots", first, testFile))).toBe(`../../../blobs/${sha256(content(testFile))}`);
		expect(readFileSync(join(repository(), "snapshots", first, testFile))).toEqual(content(testFile));
	});

	it("asks for no file a second time, and offline for nothing at all", async () => {
		const online = await fetchMa();
		hub.asked.length = 0;
		expect((await fetchMa()).downloaded).toEqual({ files: 0, bytes: 0 });
		expect(hub.asked.length).toBeGreaterThan(0);
		expect(hub.files).toEqual([]);
		hub.asked.length = 0;
		const offline = await fetchMa({ env: { ...env, HF_HUB_OFFLINE: "1" } });
		expect(hub.asked).toEqual([]);
		expect(offline).toEqual({ ...online, downloaded: { files: 0, bytes: 0 } });
	});

	it("downloads anew what is damaged in the cache; offline it is refused", async () => {
		await fetchMa();
		const blob = join(repository(), "blobs", sha256(content(testFile)));
		writeFileSync(blob, "damaged");
		await expect(fetchMa({ env: { ...env, HF_HUB_OFFLINE: "1" } })).rejects.toMatchObject({ code: "E_CHECKSUM", where: blob });
		expect((await fetchMa()).downloaded.files).toBe(1);
		expect(readFileSync(blob)).toEqual(content(testFile));
	});

	it("of files without LFS holds them against git's hash", async () => {
		hub.commits[first] = plainCommit({ "test.jsonl": jsonl(rows(0, 50)), "valid #1.jsonl": jsonl(rows(50, 60)) });
		const { manifest } = await fetchMa();
		expect(manifest.splits).toMatchObject({ valid: { rows: 10 }, test: { rows: 50 } });
		expect(blobs()).toEqual([gitBlob(content("test.jsonl")), gitBlob(content("valid #1.jsonl"))].sort());
	});

	it("stays at a revision: a branch follows its commit, a commit is asked for no more", async () => {
		await fetchMa();
		hub.refs.main = second;
		hub.commits[second] = plainCommit({ "test.jsonl": jsonl(rows(0, 7)) });
		const moved = await fetchTask(ma, join(dir, "moved"), { env });
		expect(moved.manifest).toMatchObject({ origin: { revision: "main", commit: second }, splits: { test: { rows: 7 } } });
		hub.asked.length = 0;
		const pinned = await fetchTask(ma, join(dir, "pinned"), { env, revision: first });
		expect(pinned.manifest).toMatchObject({ origin: { revision: first, commit: first }, splits: { test: { rows: 200 } } });
		expect(hub.asked.filter(({ path }) => path.includes("/revision/"))).toEqual([]);
		hub.refs["refs/pr/1"] = first;
		await fetchTask(ma, join(dir, "pr"), { env, revision: "refs/pr/1" });
		expect(readFileSync(join(repository(), "refs", "refs/pr/1"), "utf8")).toBe(first);
	});

	it("shows its progress in KiB", async () => {
		let shown = "";
		const stream = { write: (text: string) => (shown += text), isTTY: false };
		await fetchMa({ progress: createProgress({ stream }) });
		const total = Math.round((content(trainFile).byteLength + content(testFile).byteLength) / 1024);
		expect(shown).toContain(`fetch ma  KiB ${total}/${total}`);
	});
});

describe("a broken connection", () => {
	it("is gone on with where it broke", async () => {
		hub.breaks.push(1000, 500);
		const { downloaded } = await fetchMa();
		expect(downloaded.files).toBe(2);
		const ranges = hub.files.filter(({ server, range }) => server === "cdn" && range !== "bytes=0-0").map(({ range }) => range);
		const size = content(testFile).byteLength;
		expect(ranges.filter((range) => range !== undefined)).toEqual([`bytes=1000-${size - 1}`, `bytes=1500-${size - 1}`]);
		expect(blobs().some((name) => name.endsWith(".incomplete"))).toBe(false);
	});

	it("that does not recover is told, and the next fetch goes on", async () => {
		hub.breaks.push(1000, 0, 0);
		const error = await refused(fetchMa());
		expect(error).toMatchObject({ code: "E_NETWORK", exitStatus: 75 });
		expect(error.message).toMatch(/broke off.*1000 bytes.*fetch again/s);
		expect(blobs()).toEqual([`${sha256(content(testFile))}.incomplete`]);
		hub.asked.length = 0;
		await fetchMa();
		expect(hub.files.map(({ range }) => range)).toContain(`bytes=1000-${content(testFile).byteLength - 1}`);
		expect(blobs()).toHaveLength(2);
	});

	it.each([
		["with another content", "all", Buffer.alloc(1000, 7)],
		["and too long", "all", Buffer.alloc(10 ** 6, 7)],
		["where the server goes on with nothing", "probes", undefined],
	] as const)("whose beginning is there %s begins again", async (_, ranges, partial) => {
		const blob = join(repository(), "blobs", sha256(content(trainFile)));
		mkdirSync(join(repository(), "blobs"), { recursive: true });
		writeFileSync(`${blob}.incomplete`, partial ?? content(trainFile).subarray(0, 1000));
		hub.ranges = ranges;
		await fetchMa();
		expect(readFileSync(blob)).toEqual(content(trainFile));
		expect(blobs()).toHaveLength(2);
	});

	it("of one process does not disturb another that fetches the same", async () => {
		hub.breaks.push(700);
		const both = await Promise.all(["a", "b"].map((name) => fetchTask(ma, join(dir, name), { env })));
		expect(both.map(({ manifest }) => manifest.splits.train?.rows)).toEqual([300, 300]);
		expect(blobs()).toEqual([sha256(content(trainFile)), sha256(content(testFile))].sort());
	});
});

describe("the token", () => {
	it("goes to the endpoint and to no other server", async () => {
		hub.gate = "hf_secret";
		await fetchMa({ env: { ...env, HF_TOKEN: "hf_secret" } });
		const tokens = (server: string) => new Set(hub.asked.filter((asked) => asked.server === server).map(({ token }) => token));
		expect(tokens("hub")).toEqual(new Set(["Bearer hf_secret"]));
		expect(tokens("cdn")).toEqual(new Set([undefined]));
	});

	it("is that of HF_TOKEN, else of a file", async () => {
		mkdirSync(join(dir, "hf"));
		expect(await hubSettings(env)).toEqual({ endpoint: hub.endpoint, token: undefined, offline: false });
		writeFileSync(join(dir, "hf", "token"), "hf_file\n");
		writeFileSync(join(dir, "other"), "hf_other\n");
		expect((await hubSettings(env)).token).toBe("hf_file");
		expect((await hubSettings({ ...env, HF_TOKEN_PATH: join(dir, "other") })).token).toBe("hf_other");
		expect((await hubSettings({ ...env, HF_TOKEN: " hf_named " })).token).toBe("hf_named");
		await expect(hubSettings({ ...env, HF_TOKEN: "two words" })).rejects.toMatchObject({ code: "E_CONFIG", where: "HF_TOKEN" });
		await expect(hubSettings({ HF_ENDPOINT: "hub.example" })).rejects.toMatchObject({ code: "E_CONFIG", where: "HF_ENDPOINT" });
	});
});

describe("a refusal", () => {
	it.each([
		["gated, without a token", {}, /Accept its licence at \S+\/datasets\/TheFinAI\/flare-ma, then set HF_TOKEN/],
		["gated, with another's token", { HF_TOKEN: "hf_other" }, /Accept its licence at .*fetch again with its token/],
	])("of a data set that is %s says what to do", async (_, more, says) => {
		hub.gate = "hf_secret";
		const error = await refused(fetchMa({ env: { ...env, ...more } }));
		expect(error).toMatchObject({ code: "E_PERMISSION", exitStatus: 77 });
		expect(error.message).toMatch(says);
		expect(error.message).toContain(`${ma.howToGet} Then: fintune data import ma --from PATH`);
		expect(error.message).not.toContain("hf_other");
	});

	it.each([
		["without a token", {}, /no such data set.*If it is private, set HF_TOKEN.*data import fomc/s],
		["with a token", { HF_TOKEN: "hf_x" }, /no such data set\n(?!.*private).*data import fomc/s],
	])("of a data set that is not there, %s", async (_, more, says) => {
		const error = await refused(fetchTask(taskByName("fomc"), join(dir, "data"), { env: { ...env, ...more } }));
		expect(error).toMatchObject({ code: "E_NOT_FOUND", exitStatus: 66 });
		expect(error.message).toMatch(says);
	});

	it("of a revision that is not there, or is none", async () => {
		expect(await refused(fetchMa({ revision: "v9" }))).toMatchObject({ code: "E_NOT_FOUND", exitStatus: 66 });
		expect(await refused(fetchMa({ revision: "../../x" }))).toMatchObject({ code: "E_USAGE", exitStatus: 64 });
		expect(hub.asked).toHaveLength(1);
	});

	it("of a file that has not its hash leaves nothing", async () => {
		const lie = Buffer.from(content(trainFile));
		lie[100] = (lie[100] ?? 0) ^ 1;
		hub.lies.set(trainFile, lie);
		const error = await refused(fetchMa());
		expect(error).toMatchObject({ code: "E_CHECKSUM", exitStatus: 65 });
		expect(error.message).toContain(sha256(content(trainFile)));
		expect(blobs()).toEqual([sha256(content(testFile))]);
	});

	it.each([
		["503", { status: 503, body: "" }, /does not serve this now.*HTTP 503/s],
		["a page for people", { status: 200, body: "<html>Sign in</html>" }, /does not answer as the hub does.*HF_ENDPOINT/s],
		["another document", { status: 200, body: "{}" }, /does not answer as the hub does/],
	])("by %s", async (_, answer, says) => {
		hub.answer = answer;
		const error = await refused(fetchMa());
		expect(error).toMatchObject({ code: "E_NETWORK", exitStatus: 75 });
		expect(error.message).toMatch(says);
	});

	it("of a tree that leads out of the cache", async () => {
		hub.commits[first] = plainCommit({ "../../test.jsonl": jsonl(rows(0, 1)) });
		expect((await refused(fetchMa())).message).toMatch(/does not answer as the hub does.*\.\.\/\.\.\/test\.jsonl/s);
	});

	it("where no hub can be reached says how to go on without", async () => {
		await hub.stop();
		const error = await refused(fetchMa());
		expect(error).toMatchObject({ code: "E_NETWORK", exitStatus: 75 });
		expect(error.message).toMatch(/cannot be reached.*ECONNREFUSED.*HF_HUB_OFFLINE=1.*data import ma/s);
	});

	it("offline without a copy in the cache", async () => {
		const error = await refused(fetchMa({ env: { ...env, HF_HUB_OFFLINE: "1" } }));
		expect(error).toMatchObject({ code: "E_TASK_DATA", exitStatus: 66 });
		expect(error.message).toMatch(/not in the hub's cache.*without HF_HUB_OFFLINE/s);
		expect(hub.asked).toEqual([]);
	});

	it("where the cache cannot be written", async () => {
		// Of root too: nobody makes folders in the kernel's own file system.
		const error = await refused(fetchMa({ env: { ...env, HF_HOME: "/sys/fintune" } }));
		expect([error.code, error.exitStatus]).toSatisfy((found) =>
			["E_PERMISSION,77", "E_CANNOT_CREATE,73", "E_IO,74"].includes(String(found)),
		);
	});

	it("where the cache is no folder", async () => {
		writeFileSync(join(dir, "hf"), "");
		expect(await refused(fetchMa({ env: { ...env, HF_TOKEN: "hf_x" } }))).toMatchObject({ code: "E_NOT_FOUND" });
	});

	it("of rows that the task cannot use names the file and the row; a split that is absent is told", async () => {
		hub.commits[first] = plainCommit({ "test.jsonl": jsonl([row(0), { ...row(1), gold: 5 }]) });
		await expect(fetchMa()).rejects.toThrow(/snapshots.*test\.jsonl:2: has no right option/);
		expect(existsSync(join(dir, "data", "ma"))).toBe(false);
		hub.commits[first] = plainCommit({ "README.md": Buffer.from("x") });
		hub.commits[second] = plainCommit({ "train.jsonl": jsonl([row(0)]) });
		const { differences } = await fetchMa({ revision: second });
		expect(differences).toEqual(["ma test: the repository has no rows, the leaderboard has 500"]);
		await expect(fetchMa()).rejects.toThrow(/has no rows that task ma can use.*README\.md/s);
	});
});

describe("of a repository's files", () => {
	const choose = (...paths: string[]) => Object.fromEntries(chooseRowFiles(paths, "repository"));

	it("those with the rows are chosen by their splits, once each", () => {
		expect(choose("README.md", "data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet")).toEqual({
			train: ["data/train-00000-of-00001.parquet"],
			valid: ["data/validation-00000-of-00001.parquet"],
		});
		expect(choose("test.csv", "test.jsonl", "valid.json", "dataset_infos.json")).toEqual({
			test: ["test.jsonl"],
			valid: ["valid.json"],
		});
		expect(choose("test.parquet", "data/test.csv", "old/test.parquet")).toEqual({ test: ["data/test.csv"] });
		expect(choose("default/test/0000.parquet", "default/test/0001.parquet", "default/train/0000.parquet")).toEqual({
			test: ["default/test/0000.parquet", "default/test/0001.parquet"],
			train: ["default/train/0000.parquet"],
		});
	});

	it("competing sets and missing shards are refused", () => {
		expect(() => choose("en/test.jsonl", "es/test.jsonl")).toThrow(/several sets of test rows.*en, es/s);
		expect(() => choose("data/test-00000-of-00002.parquet")).toThrow(/test rows are not all there.*2 files/s);
	});
});
