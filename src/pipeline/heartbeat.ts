/**
 * status.json, the word of a run about itself: what it is doing, how far it is, and that it lives. Every change of state is
 * synced; between them the file is only renewed every few seconds, so that its age tells whether anybody is still there.
 * @module
 */
import { hostname } from "node:os";
import { writeFileAtomic } from "../engine/files.js";
import { type ProgressFields, progressFields } from "../report/log.js";
import { type Progress, type ProgressUpdate, secondsLeftOf } from "../report/progress.js";
import { writeJson } from "../stages/files.js";
import { processStart } from "./process_alive.js";
import type { RunResult, StageSummary } from "./types.js";

/** How often a run that goes on says so. */
export const heartbeatSeconds = 5;

/** The state of a run as the run knows it. */
export interface RunStatus {
	status: "running" | RunResult["status"];
	/** The stage that is at work, and which repetition of it: 1, 2, ... */
	stage?: string;
	iteration?: number;
	/** Stages that are over, as in result.json. */
	stages: readonly StageSummary[];
	/** What stopped the run. */
	error?: { code: string; message: string };
	/** What the process ends with. */
	exit_status?: number;
}

/** What status.json holds. */
export interface StatusDocument extends RunStatus {
	/** The newest state of the work, and when it was told. */
	progress?: ProgressFields & { at: string };
	pid: number;
	host: string;
	/** Tells the process from a later one with the same pid. */
	process?: string;
	/** When the process began with the run, and when it last wrote this file; ISO 8601. */
	started: string;
	updated: string;
}

export class Heartbeat {
	readonly #path: string;
	readonly #everyMs: number;
	readonly #process = processStart(process.pid);
	readonly #left = secondsLeftOf();
	#started: string | undefined;
	#status: RunStatus | undefined;
	#update: { update: ProgressUpdate; at: number } | undefined;
	#timer: NodeJS.Timeout | undefined;
	#beat: Promise<void> | undefined;

	constructor(path: string, everySeconds = heartbeatSeconds) {
		this.#path = path;
		this.#everyMs = everySeconds * 1000;
	}

	/**
	 * Writes a change of state, synced. From the first `running` on the file is renewed at intervals, until another status or
	 * {@link stop}.
	 */
	async write(status: RunStatus): Promise<void> {
		this.stop();
		await this.#beat;
		if (this.#status?.status !== "running") this.#started = new Date().toISOString();
		this.#update = undefined;
		this.#status = status;
		await writeJson(this.#path, this.#document(status));
		if (status.status !== "running") return;
		// What keeps the process alive is its work; a timer that did would outlive an error.
		this.#timer = setInterval(() => this.#renew(), this.#everyMs).unref();
	}

	/** No more renewals. */
	stop(): void {
		clearInterval(this.#timer);
		this.#timer = undefined;
	}

	/** The last state that was written by {@link write}. */
	get status(): RunStatus | undefined {
		return this.#status;
	}

	/** Takes part in progress: remembers the newest state for the next renewal. */
	readonly progress: Progress = {
		update: (update) => {
			this.#left.begin(update);
			this.#update = { update, at: Date.now() };
		},
		message() {},
		end() {},
	};

	#renew(): void {
		if (this.#beat || !this.#status) return;
		const text = `${JSON.stringify(this.#document(this.#status), null, 2)}\n`;
		// A heartbeat that cannot be written is missed by those who look; the work goes on.
		this.#beat = writeFileAtomic(this.#path, [Buffer.from(text)], false)
			.catch(() => undefined)
			.finally(() => {
				this.#beat = undefined;
			});
	}

	#document({ stages, error, exit_status, ...status }: RunStatus): StatusDocument {
		const now = new Date().toISOString();
		const progress =
			status.status === "running" && this.#update
				? {
						...progressFields(this.#update.update, this.#left.of(this.#update.update)),
						at: new Date(this.#update.at).toISOString(),
					}
				: undefined;
		return {
			...status,
			...(progress ? { progress } : {}),
			...(error ? { error } : {}),
			...(exit_status === undefined ? {} : { exit_status }),
			pid: process.pid,
			host: hostname(),
			...(this.#process === undefined ? {} : { process: this.#process }),
			started: this.#started ?? now,
			updated: now,
			stages,
		};
	}
}
