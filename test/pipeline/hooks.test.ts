/** Hooks of a run: a local server and commands are told of start and end; what cannot be told stops nothing. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { parsePipeline } from "../../src/pipeline/config.js";
import { lockRunFolder } from "../../src/pipeline/lock.js";
import { runPipeline } from "../../src/pipeline/runner.js";
import type { Hooks } from "../../src/pipeline/schema.js";
import { type HookTimes, RunHooks } from "../../src/pipeline/telling/hooks.js";
import type { RunOptions } from "../../src/pipeline/types.js";
import { fintune, lines, put } from "../cli/cli.js";
import { wholeLines } from "./interrupted.js";
import { pipelineText, smallSft, tinyModel, tinyTaskData } from "./tiny.js";

let dir: string;
let origin: string;
const server = createServer((request, response) => void answer(request, response));
/** What the server does with a request; what it was asked. */
let respond: (response: ServerResponse, path: string) => void;
let asked: { path: string; rid: string | null; method: string; body: string; authorization: string | undefined }[];

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
	const url = new URL(request.url!, origin);
	let body = "";
	for await (const chunk of request) body += chunk;
	const rid = url.searchParams.get("rid");
	url.searchParams.delete("rid");
	const { authorization } = request.headers;
	asked.push({ path: `${url.pathname}${url.search}`, rid, method: request.method!, body, authorization });
	respond(response, url.pathname);
}

beforeAll(async () => {
	dir = mkdtempSync(join(tmpdir(), "fintune-hooks-"));
	await tinyModel(join(dir, "model"));
	tinyTaskData(join(dir, "data"));
	put(join(dir, "rows.jsonl"), lines([{ prompt: "Row 1:", completion: " yes" }]));
	await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
	origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
	server.closeAllConnections();
	server.close();
	rmSync(dir, { recursive: true, force: true });
});
beforeEach(() => {
	asked = [];
	respond = (response) => response.end("OK");
});

let count = 0;
/** Runs in this process. */
async function run(hooks: object, stages: object[] = [smallSft()], options: Partial<RunOptions> = {}) {
	const out = options.out ?? join(dir, `run-${++count}`);
	const messages: string[] = [];
	const progress = { update() {}, message: (line: string) => void messages.push(line), end() {} };
	const pipeline = parsePipeline(pipelineText(stages, { hooks }), join(dir, "p.yaml"));
	const result = await runPipeline(pipeline, { progress, ...options, out }).catch((error: unknown) => error);
	return { result, out, messages };
}

describe("pings", () => {
	it("tell a check of healthchecks' kind of start and success, with one rid and the log's tail", async () => {
		const { result } = await run({ ping_url: `${origin}/key/nightly?create=1` });
		expect(result).toMatchObject({ status: "done" });
		expect(asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
			"POST /key/nightly/start?create=1",
			"POST /key/nightly?create=1",
		]);
		expect(asked[0]!.rid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
		expect(asked[1]!.rid).toBe(asked[0]!.rid);
		const tail = asked[1]!.body
			.trimEnd()
			.split("\n")
			.map((line) => JSON.parse(line));
		expect(tail.at(-1)).toMatchObject({ event: "ended", status: "done", exit_status: 0, pid: process.pid });
		expect(tail.find((line) => line.event === "done")).toMatchObject({ stage: "sft", level: "info" });
		expect(asked[1]!.body.length).toBeLessThanOrEqual(10_000);
	});

	it("give the exit status of a failure, of a gate that is not passed, and of a stop", async () => {
		await run({ ping_url: `${origin}/check` }, [smallSft({ data: [{ path: "gone.jsonl" }] })]);
		expect(asked.map((a) => a.path)).toEqual(["/check/start", "/check/66"]);
		expect(asked[1]!.body).toContain("gone.jsonl");
		asked = [];
		const controller = new AbortController();
		const progress = { update: () => controller.abort(), message() {}, end() {} };
		await run({ ping_url: `${origin}/check`, on_failure: `${origin}/failed?to=me` }, [smallSft({ max_steps: 500 })], {
			signal: controller.signal,
			progress,
		});
		expect(asked.map((a) => a.path).sort()).toEqual(["/check/75", "/check/start", "/failed?to=me"]);
		asked = [];
		const gated = { name: "e", type: "evaluate", tasks: ["ner"], max_new_tokens: 2, gate: "e.overlong > 1" };
		const { result } = await run({ ping_url: `${origin}/check`, on_success: `${origin}/succeeded` }, [gated]);
		expect(result).toMatchObject({ status: "gate_not_passed" });
		expect(asked.map((a) => a.path)).toEqual(["/check/start", "/check/3"]);
	});

	it("go to the address of the moment, with user and password as a header", async () => {
		const hooks = {
			on_start: `${origin}/a`,
			on_success: `${origin.replace("//", "//me:pa%20ss@")}/b`,
			on_failure: `${origin}/c`,
		};
		await run(hooks);
		expect(asked.map((a) => a.path)).toEqual(["/a", "/b"]);
		expect(asked.map((a) => a.authorization)).toEqual([undefined, `Basic ${Buffer.from("me:pa ss").toString("base64")}`]);
	});

	it("are tried again where the server fails, not where it refuses", async () => {
		let times = 0;
		respond = (response, path) => {
			response.statusCode = path.endsWith("/start") && ++times < 3 ? 500 : path.endsWith("/start") ? 200 : 404;
			response.end();
		};
		const { out, result, messages } = await run({ ping_url: `${origin}/check` });
		expect(result).toMatchObject({ status: "done", exitStatus: 0 });
		expect(asked.map((a) => a.path)).toEqual(["/check/start", "/check/start", "/check/start", "/check"]);
		expect(messages.filter((m) => m.startsWith("hooks."))).toEqual([`hooks.ping_url (${origin}/***): the server answered 404`]);
		expect(wholeLines(join(out, "journal.jsonl")).filter((e) => e.event === "hook")).toMatchObject([
			{ hook: "ping_url", why: "the server answered 404" },
		]);
		expect(wholeLines(join(out, "log.jsonl")).at(-1)).toMatchObject({ level: "warn", event: "hook" });
	});

	it("that nobody answers hold the end up by their timeouts at most", async () => {
		respond = () => undefined;
		const failures: string[] = [];
		const told = {
			name: "n",
			folder: dir,
			place: dir,
			log: "log",
			id: "id",
			tail: () => "",
			failed: async ({ hook, why }: { hook: string; why: string }) => void failures.push(`${hook}: ${why}`),
		};
		const times: HookTimes = { ping: 200, retries: 2, pause: 20, command: 1000 };
		const hooks: Hooks = { ping_url: `${origin}/never`, on_success: `${origin}/neither` };
		const telling = new RunHooks(hooks, told, times);
		telling.started();
		const begun = performance.now();
		await telling.ended({ status: "done", exitStatus: 0 });
		const took = performance.now() - begun;
		expect(took).toBeGreaterThan(600);
		// One timeout for the start, three and the pauses for the end; the rest is the machine's.
		expect(took).toBeLessThan(4 * 200 + 60 + 1000);
		expect(failures).toEqual(
			["ping_url: the run has ended", "on_success: no answer in time", "ping_url: no answer in time"].sort().reverse(),
		);
	});

	it("cannot fail a run, wherever they go", async () => {
		const hooks = { on_start: "http://127.0.0.1:1/", on_success: "http://no.such.host.invalid/x" };
		const { result, messages } = await run(hooks);
		expect(result).toMatchObject({ status: "done", exitStatus: 0 });
		expect(messages.filter((m) => m.startsWith("hooks."))).toHaveLength(2);
	});
});

describe("commands", () => {
	it("are run by the shell with the run in FINTUNE_* and the log's tail on standard input", async () => {
		const file = join(dir, "told");
		// In the folder of the pipeline file.
		const note = '{ echo "$FINTUNE_HOOK $FINTUNE_STATUS $FINTUNE_EXIT_STATUS $FINTUNE_RUN_NAME"; cat; } >> told';
		const hooks = { on_start: { command: note }, on_success: { command: note }, on_failure: { command: note } };
		const { out } = await run(hooks);
		const text = readFileSync(file, "utf8").split("\n");
		expect(text[0]).toBe("on_start running  small");
		expect(text).toContain("on_success done 0 small");
		expect(JSON.parse(text.at(-2)!)).toMatchObject({ event: "ended", status: "done" });
		await run({ on_failure: { command: `echo "$FINTUNE_EXIT_STATUS $FINTUNE_RUN $FINTUNE_RUN_LOG $FINTUNE_ERROR" > ${file}` } }, [
			smallSft({ data: [{ path: "gone.jsonl" }] }),
		]);
		expect(readFileSync(file, "utf8")).toMatch(
			new RegExp(`^66 ${dir}/run-${count} ${dir}/run-${count}/log\\.jsonl .*gone\\.jsonl.*no such file`),
		);
		expect(existsSync(join(out, "log.jsonl"))).toBe(true);
	});

	it("that fail or do not end are warnings with what they printed", async () => {
		const { result, messages } = await run({ on_success: { command: "echo out of order >&2; exit 7" } });
		expect(result).toMatchObject({ exitStatus: 0 });
		expect(messages.at(-1)).toMatch(/^hooks\.on_success \(.*\): it ended with status 7: out of order$/);
		const failures: string[] = [];
		const told = {
			name: "n",
			folder: dir,
			place: dir,
			log: "log",
			id: "id",
			tail: () => "x".repeat(100_000),
			failed: async ({ why }: { why: string }) => void failures.push(why),
		};
		const begun = performance.now();
		const hooks = new RunHooks({ on_success: { command: "sleep 100 & wait" } }, told, {
			ping: 100,
			retries: 0,
			pause: 1,
			command: 300,
		});
		await hooks.ended({ status: "done", exitStatus: 0 });
		expect(failures).toEqual(["it took longer than 0.3 s"]);
		expect(performance.now() - begun).toBeLessThan(5000);
	});
});

describe("a run's hooks", () => {
	it("are not told of a start that the lock refuses", async () => {
		const out = join(dir, "locked");
		const first = await run({}, [smallSft()], { out });
		expect(first.result).toMatchObject({ status: "done" });
		const lock = await lockRunFolder(out);
		const { result } = await run({ ping_url: `${origin}/check` }, [smallSft()], { out });
		lock.release();
		expect(result).toMatchObject({ code: "E_LOCKED" });
		expect(asked).toEqual([]);
	});

	it("are no part of what a stage is: with another address nothing is trained again", async () => {
		const { out } = await run({ ping_url: `${origin}/one` });
		const { result } = await run({ on_success: `${origin}/two` }, [smallSft()], { out });
		expect(result).toMatchObject({ stages: [{ name: "sft", status: "reused" }] });
		expect(asked.at(-1)!.path).toBe("/two");
	});

	it("leave no secret in the folder or on stderr", async () => {
		respond = (response) => {
			response.statusCode = 403;
			response.end();
		};
		const secret = origin.replace("//", "//user:hushword@");
		const hooks = {
			ping_url: `${secret}/hushpath?key=hushquery`,
			on_success: { command: `curl -s ${secret}/hushcommand; exit 1` },
			on_failure: `${secret}/hushfailure`,
		};
		const file = put(join(dir, "secret.yaml"), pipelineText([smallSft()], { hooks }));
		const out = join(dir, "secret");
		const { status, stdout, stderr } = await fintune(["run", file, "--out", out, "--json"]);
		expect(status, stderr).toBe(0);
		expect(asked.map((a) => a.path)).toContain("/hushpath/start?key=hushquery");
		expect(stderr).toContain("the server answered 403");
		const text = [stdout, stderr];
		for (const name of readdirSync(out, { recursive: true, withFileTypes: true })) {
			if (name.isFile()) text.push(readFileSync(join(name.parentPath, name.name), "latin1"));
		}
		expect(text.join("\n")).not.toMatch(/hush/);
		const { hooks: written } = parse(readFileSync(join(out, "config.resolved.yaml"), "utf8"));
		expect(written).toMatchObject({ ping_url: `${origin}/***`, on_failure: `${origin}/***` });
		expect(written.on_success.command).toBe(`curl -s ${origin}/***; exit 1`);
	});

	it("are checked with the file", () => {
		const errors = (hooks: object): string => {
			try {
				parsePipeline(pipelineText([smallSft()], { hooks }), "p.yaml");
			} catch (error) {
				return (error as Error).message;
			}
			return "";
		};
		expect(errors({ ping_url: "hc-ping.com/key" })).toMatch(/hooks\.ping_url has a wrong value[\s\S]*begins with http/);
		expect(errors({ on_sucess: "https://a/b" })).toMatch(/unknown key "on_sucess"[\s\S]*did you mean "on_success"/);
		expect(errors({ on_start: { comand: "x" } })).toMatch(/unknown key "comand"[\s\S]*did you mean "command"/);
		expect(errors({ on_start: "ftp://a/b" })).toMatch(/hooks\.on_start has a wrong value[\s\S]*begins with http/);
		expect(errors({ on_start: "https://a/b", on_failure: { command: "true" } })).toBe("");
	});
});
