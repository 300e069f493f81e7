/**
 * Who is told that a run has begun and how it ended: addresses that are pinged (healthchecks' kind, or any that takes a
 * POST) and commands. Telling is best effort: it never fails a run, and holds its end up by no more than its own timeouts.
 * @module
 */
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunEnd } from "../failure.js";
import type { Hook, Hooks } from "../schema.js";
import { maskAddresses } from "./mask.js";

/** The run that is told of. */
export interface ToldRun {
	name: string;
	/** The run folder, absolute. */
	folder: string;
	/** Where the pipeline file lies: commands run there, since its paths begin there. */
	place: string;
	/** The log, absolute. */
	log: string;
	/** Names this process's run: healthchecks joins start and end by it. */
	id: string;
	/** The newest lines of the log. */
	tail(): string;
	/** Takes what could not be told. */
	failed(failure: { hook: string; target: string; why: string }): Promise<void>;
}

/** Times in milliseconds. */
export interface HookTimes {
	/** Of one ping. */
	ping: number;
	/** Pings after one that failed. */
	retries: number;
	/** Before the first retry; the second waits twice as long. */
	pause: number;
	/** Of a command, which is then killed. */
	command: number;
}
const usualTimes: HookTimes = { ping: 5000, retries: 2, pause: 500, command: 60_000 };

/** The moments that are told. */
type Moment = { name: "on_start" } | { name: "on_success" | "on_failure"; end: RunEnd };

export class RunHooks {
	readonly #hooks: Hooks;
	readonly #run: ToldRun;
	readonly #times: HookTimes;
	readonly #start = new AbortController();
	#starting: Promise<unknown> = Promise.resolve();

	constructor(hooks: Hooks, run: ToldRun, times: HookTimes = usualTimes) {
		this.#hooks = hooks;
		this.#run = run;
		this.#times = times;
	}

	/** Tells of the start, beside the work. */
	started(): void {
		this.#starting = this.#tell({ name: "on_start" }, this.#start.signal);
	}

	/** Tells of the end, after the start: a telling of it that is not through by now has one timeout left. */
	async ended(end: RunEnd): Promise<void> {
		const waited = new AbortController();
		await Promise.race([this.#starting, sleep(this.#times.ping, undefined, { signal: waited.signal }).catch(() => undefined)]);
		waited.abort();
		this.#start.abort(new Error("the run has ended"));
		await this.#starting;
		await this.#tell({ name: end.exitStatus === 0 ? "on_success" : "on_failure", end });
	}

	async #tell(moment: Moment, signal?: AbortSignal): Promise<void> {
		const { ping_url: check } = this.#hooks;
		const hook = this.#hooks[moment.name];
		await Promise.all([
			...(check === undefined ? [] : [this.#attempt("ping_url", check, () => this.#ping(checkAddress(check, moment), signal))]),
			...(hook === undefined ? [] : [this.#attempt(moment.name, hook, () => this.#call(hook, moment, signal))]),
		]);
	}

	async #attempt(name: string, hook: Hook, call: () => Promise<void>): Promise<void> {
		try {
			await call();
		} catch (error) {
			const target = maskAddresses(typeof hook === "string" ? hook : hook.command);
			await this.#run.failed({ hook: name, target, why: maskAddresses(reasonOf(error)) });
		}
	}

	#call(hook: Hook, moment: Moment, signal?: AbortSignal): Promise<void> {
		return typeof hook === "string" ? this.#ping(new URL(hook), signal) : this.#command(hook.command, moment, signal);
	}

	/** POSTs the log's tail; again where the server or the way to it failed. */
	async #ping(url: URL, signal?: AbortSignal): Promise<void> {
		url.searchParams.set("rid", this.#run.id);
		const { username, password } = url;
		url.username = "";
		url.password = "";
		const headers = {
			"content-type": "text/plain; charset=utf-8",
			"user-agent": "fintune",
			...(username || password ? { authorization: basicAuthorization(username, password) } : {}),
		};
		for (let attempt = 0; ; attempt++) {
			try {
				return await this.#post(url, headers, signal);
			} catch (error) {
				if (signal?.aborted || attempt === this.#times.retries || error instanceof Refused) throw error;
			}
			await sleep(this.#times.pause * 2 ** attempt, undefined, signal ? { signal } : {});
		}
	}

	async #post(url: URL, headers: Record<string, string>, signal?: AbortSignal): Promise<void> {
		const timeout = AbortSignal.timeout(this.#times.ping);
		const response = await fetch(url, {
			method: "POST",
			body: this.#run.tail(),
			headers,
			signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
		});
		await response.body?.cancel();
		if (response.ok) return;
		const status = `the server answered ${response.status}`;
		// What the server does not want now it will not want in a second, unless it says that it is busy.
		const temporary = response.status >= 500 || response.status === 408 || response.status === 429;
		throw temporary ? new Error(status) : new Refused(status);
	}

	/** Runs a command by the shell, with the log's tail on its standard input; what it prints is shown where it fails. */
	#command(command: string, moment: Moment, signal?: AbortSignal): Promise<void> {
		return new Promise((done, fail) => {
			// A group of its own, so that all of it can be ended.
			const child = spawn(command, {
				shell: true,
				detached: true,
				cwd: this.#run.place,
				stdio: ["pipe", "pipe", "pipe"],
				env: { ...process.env, ...this.#variables(moment) },
			});
			let printed = "";
			let late: string | undefined;
			const end = (why: string): void => {
				late = why;
				if (child.pid !== undefined) killGroup(child.pid);
			};
			const timer = setTimeout(() => end(`it took longer than ${this.#times.command / 1000} s`), this.#times.command);
			const onAbort = (): void => end("the run ended before it did");
			signal?.addEventListener("abort", onAbort, { once: true });
			for (const stream of [child.stdout, child.stderr]) {
				stream.setEncoding("utf8").on("data", (text: string) => {
					printed = `${printed}${text}`.slice(-500);
				});
			}
			// A command that does not read its input may be gone before it is written.
			child.stdin.on("error", () => undefined).end(this.#run.tail());
			const over = (why?: string): void => {
				clearTimeout(timer);
				signal?.removeEventListener("abort", onAbort);
				if (why === undefined) done();
				else fail(new Error([why, printed.trim()].filter(Boolean).join(": ")));
			};
			child.on("error", (error) => over(error.message));
			child.on("exit", (status, killed) => {
				// Something that it left behind may hold the pipes; it is not waited for.
				child.stdout.destroy();
				child.stderr.destroy();
				over(late ?? (status === 0 ? undefined : killed ? `it was ended by ${killed}` : `it ended with status ${status}`));
			});
		});
	}

	#variables(moment: Moment): Record<string, string> {
		const { name, folder, log, id } = this.#run;
		const end = "end" in moment ? moment.end : undefined;
		return {
			FINTUNE_HOOK: moment.name,
			FINTUNE_RUN: folder,
			FINTUNE_RUN_NAME: name,
			FINTUNE_RUN_ID: id,
			FINTUNE_RUN_LOG: log,
			FINTUNE_STATUS: end?.status ?? "running",
			...(end ? { FINTUNE_EXIT_STATUS: String(end.exitStatus), FINTUNE_ERROR: end.error?.message ?? "" } : {}),
		};
	}
}

/** An answer that will be the same the next time. */
class Refused extends Error {}

/** A check's address for a moment: /start, the address itself, or /EXITSTATUS; a query stays where it was. */
function checkAddress(check: string, moment: Moment): URL {
	const url = new URL(check);
	const end = "end" in moment ? moment.end.exitStatus : undefined;
	const path = url.pathname.replace(/\/+$/, "");
	url.pathname = end === undefined ? `${path}/start` : end === 0 ? path : `${path}/${end}`;
	return url;
}

const basicAuthorization = (user: string, password: string): string =>
	`Basic ${Buffer.from(`${decodeURIComponent(user)}:${decodeURIComponent(password)}`).toString("base64")}`;

/** fetch says only that it failed; its cause says why. */
function reasonOf(error: unknown): string {
	const { name, message, cause } = error as Error & { cause?: Error & { code?: string } };
	if (name === "TimeoutError") return "no answer in time";
	return cause ? cause.message || cause.code || message : message;
}

function killGroup(pid: number): void {
	try {
		process.kill(-pid, "SIGKILL");
	} catch {
		// It ended by itself just now.
	}
}
