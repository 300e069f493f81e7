/**
 * The stages of a run in order, each at most once for the same inputs, with conditions and iterations.
 * @module
 */
import { join } from "node:path";
import type { StageOutcome, TrainingContext } from "../stages/context.js";
import { LeakCheck, leakCacheFolder } from "../stages/leaks.js";
import type { Manifest } from "../stages/manifest.js";
import { runStage } from "../stages/registry.js";
import type { DpoConfig, StageConfig } from "../stages/schema.js";
import type { ModelSession } from "../stages/session.js";
import { taskDataDirs } from "../tasks/data_dirs.js";
import { taskByName } from "../tasks/registry.js";
import { evaluateCondition, type MetricReference, parseCondition, references } from "./conditions.js";
import { type LoadedPipeline, resolvePath } from "./config.js";
import { codeOf, statusOf, stopped } from "./failure.js";
import type { RunFolder, StageRecord } from "./folder.js";
import { InputHasher, stageIdentity, workIdentity } from "./identity.js";
import { Lineage } from "./lineage.js";
import { timeIsOver } from "./stop_time.js";
import type { RunOptions, StageSummary } from "./types.js";
import { verifyResume } from "./verify_resume.js";

/** Where the state of a run is while it goes through its stages. */
export class Run {
	readonly summaries: StageSummary[] = [];
	readonly records: StageRecord[] = [];
	/** Newest record by stage name. */
	readonly newest = new Map<string, StageRecord>();
	readonly skipped = new Set<string>();
	readonly #iterations = new Map<string, number>();
	readonly #pipeline: LoadedPipeline;
	readonly #options: RunOptions;
	readonly #folder: RunFolder;
	readonly #session: ModelSession;
	readonly #hasher: InputHasher;
	readonly #dataDirs: readonly string[];
	readonly #leaks: LeakCheck;
	readonly #lineage: Lineage;
	readonly #addonIdentity: string;
	#repeating: boolean;

	constructor(
		pipeline: LoadedPipeline,
		options: RunOptions,
		folder: RunFolder,
		session: ModelSession,
		identity: { addon: string; model: string; stack: string[] },
	) {
		this.#pipeline = pipeline;
		this.#options = options;
		this.#folder = folder;
		this.#session = session;
		this.#dataDirs = taskDataDirs([
			...(options.dataDirs ?? []),
			...(pipeline.config.data_dir === undefined ? [] : [resolvePath(pipeline, pipeline.config.data_dir)]),
		]);
		this.#leaks = new LeakCheck(this.#dataDirs, leakCacheFolder());
		this.#hasher = new InputHasher(this.#dataDirs, (path) => resolvePath(pipeline, path), this.#leaks);
		this.#addonIdentity = identity.addon;
		this.#lineage = new Lineage(identity.model, identity.stack);
		this.#repeating = options.force === true;
	}

	get gateFailures(): StageSummary[] {
		return this.summaries.filter((s) => s.note?.startsWith("gate not passed"));
	}

	async all(): Promise<void> {
		for (const stage of this.#pipeline.config.stages) {
			if (stage.name === this.#options.from) this.#repeating = true;
			if (stage.type === "dpo" && stage.until !== undefined) await this.#iterate(stage);
			else await this.#once(stage, stage.when);
		}
	}

	/** `dpo` with `until`: repeat its sources and the measured stage with the present stack, train, and look again. */
	async #iterate(stage: DpoConfig): Promise<void> {
		const until = stage.until!;
		const measured = [...new Set(references(parseCondition(until)).map((r) => r.stage))];
		const sources = stage.data.flatMap((s) => ("from" in s ? [s.from] : []));
		const byName = (name: string): StageConfig => this.#pipeline.config.stages.find((s) => s.name === name)!;
		if (stage.when !== undefined && !(await this.#decide(stage, stage.when))) return;
		for (let iteration = 1; iteration <= stage.max_iterations; iteration++) {
			for (const name of measured) await this.#once(byName(name));
			const outcome = evaluateCondition(parseCondition(until), this.#lookup);
			this.#log(`${stage.name}: until ${outcome.explanation}: ${outcome.holds ? "holds" : "does not hold"}`);
			if (outcome.holds) {
				if (iteration === 1) await this.#skip(stage, `until holds already: ${outcome.explanation}`);
				return;
			}
			for (const name of sources) await this.#once(byName(name));
			const done = await this.#once(stage);
			if (done.outcome.status === "skipped") return;
		}
		for (const name of measured) await this.#once(byName(name));
		const outcome = evaluateCondition(parseCondition(until), this.#lookup);
		this.#log(
			`${stage.name}: after ${stage.max_iterations} iterations, until ${outcome.explanation}: ${outcome.holds ? "holds" : "does not hold"}`,
		);
	}

	/** Runs a stage, or takes its finished result if it is the same work. */
	async #once(stage: StageConfig, when?: string): Promise<StageRecord> {
		const { signal } = this.#options;
		if (signal?.aborted) throw stopped(signal.reason);
		if (when !== undefined && !(await this.#decide(stage, when))) return this.newest.get(stage.name)!;
		const sources = "data" in stage ? stage.data.flatMap((s) => ("from" in s ? [s.from] : [])) : [];
		const empty = sources.find((name) => this.skipped.has(name));
		if (empty !== undefined) return this.#skip(stage, `"${empty}" was skipped, so it has no rows`);

		const given = {
			stage,
			seed: this.#pipeline.config.seed,
			dtype: this.#session.options.dtype,
			...(this.#pipeline.asOf === undefined ? {} : { asOf: this.#pipeline.asOf }),
			inputs: await this.#inputs(stage),
		};
		const identity = stageIdentity({
			...given,
			device: this.#session.options.device,
			addon: this.#addonIdentity,
			model: this.#lineage.model,
			stack: this.#lineage.stack,
			from: sources.map((name) => this.newest.get(name)!.identity),
		});
		const present = this.newest.get(stage.name);
		if (present?.identity === identity) return present; // a repetition of the very same work
		const iteration = (this.#iterations.get(stage.name) ?? 0) + 1;
		this.#iterations.set(stage.name, iteration);

		const { model, stack, stages } = this.#lineage.content;
		const work = workIdentity({ ...given, model, stack, from: sources.map((name) => stages.get(name)!) });
		const stored = this.#repeating ? "other work" : await this.#finished(stage.name, iteration, identity);
		if (typeof stored === "object") {
			const { record, manifest } = stored;
			await this.#folder.journal({ event: "reused", stage: stage.name, iteration, identity });
			if (this.#options.verifyResume && record.outcome.trained) {
				await this.#verifyResume(stage, { identity, work, iteration, manifest });
			}
			this.#accept(stage, record, manifest, "reused");
			return record;
		}
		return this.#run(stage, { identity, work, iteration, mayResume: stored === "unfinished" });
	}

	/** Hashes of everything a stage reads; what is missing is the failure of that stage. */
	async #inputs(stage: StageConfig): Promise<unknown[]> {
		try {
			return await this.#hasher.inputs(stage, this.#stageFolder);
		} catch (error) {
			await this.#failed(stage, (this.#iterations.get(stage.name) ?? 0) + 1, error, 0);
			throw error;
		}
	}

	/** Tells of a stage that an error ended. */
	async #failed({ name, type }: StageConfig, iteration: number, error: unknown, seconds: number): Promise<void> {
		const note = error instanceof Error ? error.message : String(error);
		const status = statusOf(error);
		this.summaries.push({ name, type, iteration, status, metrics: {}, seconds, note });
		await this.#folder.journal({ event: status, stage: name, iteration, error: note });
	}

	/** Newest finished folder of an earlier stage. */
	readonly #stageFolder = (name: string): string => this.#folder.stage(name, this.newest.get(name)!.iteration);

	/** The record of a stage that has done this very work and left files that are all as they were. */
	async #finished(
		name: string,
		iteration: number,
		identity: string,
	): Promise<{ record: StageRecord; manifest: Manifest } | "unfinished" | "other work"> {
		const record = await this.#folder.finished(name, iteration);
		if (record === undefined) return "unfinished";
		if ("identity" in record && record.identity !== identity) return "other work";
		const manifest = "why" in record ? record : await this.#folder.verify(name, iteration);
		if (!("why" in manifest)) return { record: record as StageRecord, manifest };
		const folder = this.#folder.stage(name, iteration);
		this.#log(`${name}: runs again, because a file of it is damaged: ${join(folder, manifest.file)}: ${manifest.why}`);
		await this.#folder.journal({ event: "damaged", stage: name, iteration, ...manifest });
		return "unfinished";
	}

	async #run(
		stage: StageConfig,
		{ identity, work, iteration, mayResume }: { identity: string; work: string; iteration: number; mayResume: boolean },
	): Promise<StageRecord> {
		// Told before what an earlier run left goes.
		await this.#folder.journal({ event: "started", stage: stage.name, iteration, identity });
		const folder = await this.#folder.begin(stage.name, iteration, identity, mayResume);
		await this.#folder.status({ status: "running", stage: stage.name, iteration, stages: this.summaries });
		const notes: string[] = [];
		const context = this.#context(stage, { folder, identity, work, iteration }, (message) => void notes.push(message));
		const { now } = context;
		const started = now();
		let outcome: StageOutcome;
		try {
			outcome = await runStage(context, stage);
		} catch (thrown) {
			// The engine only knows that it was told to stop; the signal's reason says by whom.
			const { signal } = this.#options;
			const error = signal?.aborted && codeOf(thrown) === "E_ABORTED" ? stopped(signal.reason) : thrown;
			await this.#failed(stage, iteration, error, now() - started);
			throw error;
		}
		const record: StageRecord = {
			identity,
			name: stage.name,
			type: stage.type,
			iteration,
			seconds: round(now() - started),
			outcome,
		};
		const manifest = await this.#folder.finish(record);
		await this.#folder.journal({ event: outcome.status, stage: stage.name, iteration, seconds: record.seconds, notes });
		this.#accept(stage, record, manifest, outcome.status);
		return record;
	}

	/** What a stage is given that works in this folder. */
	#context(
		stage: StageConfig,
		{ iteration, ...where }: { folder: string; identity: string; work: string; iteration: number },
		note: (message: string) => void,
	): TrainingContext {
		const { stopTime, signal, waitSeconds, progress, now = () => performance.now() / 1000 } = this.#options;
		return {
			name: stage.name,
			...where,
			session: this.#session,
			seed: this.#pipeline.config.seed,
			dataDirs: this.#dataDirs,
			leaks: this.#leaks,
			resolvePath: (path) => resolvePath(this.#pipeline, path),
			stageFolder: this.#stageFolder,
			progress,
			log: (message) => {
				note(message);
				this.#log(message);
			},
			journal: (event) => this.#folder.journal({ ...event, stage: stage.name, iteration }),
			now,
			...(stopTime ? { stopTime: { by: now() + (stopTime.at - Date.now()) / 1000, error: timeIsOver(stopTime) } } : {}),
			...(signal ? { signal } : {}),
			...(waitSeconds === undefined ? {} : { waitSeconds }),
		};
	}

	/** Replays a finished stage that trained; the stack is still what it was trained on. */
	async #verifyResume(
		stage: StageConfig,
		{ manifest, ...given }: { identity: string; work: string; iteration: number; manifest: Manifest },
	): Promise<void> {
		const { name } = stage;
		const checkpoint = await verifyResume(this.#folder.stage(name, given.iteration), manifest, (folder) =>
			runStage(
				this.#context(stage, { ...given, folder }, () => {}),
				stage,
			),
		);
		if (checkpoint === undefined) return this.#log(`${name}: no checkpoint to replay from: it ended before one was saved`);
		await this.#folder.journal({ event: "resume verified", stage: name, iteration: given.iteration, checkpoint });
		this.#log(`${name}: replayed from ${checkpoint}: the same bytes`);
	}

	#accept(stage: StageConfig, record: StageRecord, manifest: Manifest, status: StageSummary["status"]): void {
		const { outcome } = record;
		this.#lineage.accept(record, manifest);
		this.records.push(record);
		this.newest.set(stage.name, record);
		if (outcome.status === "skipped") this.skipped.add(stage.name);
		else this.skipped.delete(stage.name);
		if (outcome.trained === "adapter") {
			this.#session.stack.push(join(this.#folder.stage(stage.name, record.iteration), "adapter"));
		} else if (outcome.trained === "model") {
			this.#session.base = join(this.#folder.stage(stage.name, record.iteration), "model");
			this.#session.stack = [];
		}
		let note = outcome.note;
		if (stage.type === "evaluate" && stage.gate !== undefined) {
			const gate = evaluateCondition(parseCondition(stage.gate), this.#lookup);
			note = `gate ${gate.holds ? "passed" : "not passed"}: ${gate.explanation}`;
			this.#log(`${stage.name}: ${note}`);
		}
		this.summaries.push({
			name: stage.name,
			type: stage.type,
			iteration: record.iteration,
			status: outcome.status === "skipped" ? "skipped" : status,
			metrics: outcome.metrics,
			seconds: record.seconds,
			...(note === undefined ? {} : { note }),
		});
	}

	async #decide(stage: StageConfig, when: string): Promise<boolean> {
		const outcome = evaluateCondition(parseCondition(when), this.#lookup);
		this.#log(`${stage.name}: when ${outcome.explanation}: ${outcome.holds ? "holds" : "does not hold"}`);
		if (!outcome.holds) {
			const why = outcome.missing.length > 0 ? `no such metric: ${outcome.missing.join(", ")}` : outcome.explanation;
			await this.#skip(stage, `when does not hold: ${why}`);
		}
		return outcome.holds;
	}

	async #skip(stage: StageConfig, note: string): Promise<StageRecord> {
		const record: StageRecord = {
			identity: "",
			name: stage.name,
			type: stage.type,
			iteration: 1,
			seconds: 0,
			outcome: { status: "skipped", note, metrics: {} },
		};
		this.skipped.add(stage.name);
		this.newest.set(stage.name, record);
		this.summaries.push({ name: stage.name, type: stage.type, iteration: 1, status: "skipped", metrics: {}, seconds: 0, note });
		await this.#folder.journal({ event: "skipped", stage: stage.name, note });
		this.#log(`${stage.name}: skipped: ${note}`);
		return record;
	}

	readonly #lookup = ({ stage, task, metric }: MetricReference): number | undefined =>
		this.newest.get(stage)?.outcome.metrics[task === undefined ? metric : `${taskByName(task).name}.${metric}`];

	#log(message: string): void {
		this.#options.progress.message(message);
	}
}

const round = (seconds: number): number => Math.round(seconds * 1000) / 1000;
