/**
 * Runs a pipeline from its file to a run folder that other programs can read, under the folder's lock.
 * @module
 */
import { readFile } from "node:fs/promises";
import { stringify } from "yaml";
import { foldAdapterFolders } from "../engine/adapter.js";
import { addonIdentity } from "../engine/environment.js";
import { resolveModel } from "../engine/model.js";
import { ExitStatus, FintuneError } from "../errors.js";
import { writeFileWhole, writeJson } from "../stages/files.js";
import { ModelSession } from "../stages/session.js";
import { type Challenger, championOf, promote } from "./champion/promote.js";
import { keepRuns } from "./champion/retention.js";
import { type LoadedPipeline, modelPath, resolvedConfig, resolvePath, runFolder } from "./config.js";
import { endOf, type RunEnd, stopped } from "./failure.js";
import { configFile, RunFolder, reportFile, resultFile } from "./folder.js";
import { hashFolder } from "./identity.js";
import { reportPage, runReport } from "./report.js";
import { Run } from "./run.js";
import type { PipelineConfig } from "./schema.js";
import { stopSignalAt } from "./stop_time.js";
import { maskedConfig } from "./telling/mask.js";
import { whileTelling } from "./telling/telling.js";
import type { Promotion, RunOptions, RunResult } from "./types.js";

/**
 * Runs a pipeline from start to end, or up to the error that stops it. result.json, status.json and report.html say how
 * far it came in either case; the folded adapter is there only after a run that reached its end. What an earlier run left
 * under these names is removed first, so that nothing old passes for the result of this run.
 * @throws FintuneError what stopped it, after result.json says so
 */
export async function runPipeline(pipeline: LoadedPipeline, options: RunOptions): Promise<RunResult> {
	const { config } = pipeline;
	if (options.from !== undefined && !config.stages.some((s) => s.name === options.from)) {
		throw new FintuneError("E_USAGE", `--from ${options.from}: no stage has this name`, {
			expected: `one of ${config.stages.map((s) => s.name).join(", ")}`,
		});
	}
	const resolved = maskedConfig(resolvedConfig(pipeline, options));
	const folder = new RunFolder(options.out ?? runFolder(pipeline));
	const stack = config.adapters.map((path) => resolvePath(pipeline, path));
	const model = resolveModel(modelPath(pipeline));
	const stop = stopSignalAt(options.stopTime, options.signal);
	const stoppable = { ...options, ...(stop.signal ? { signal: stop.signal } : {}) };
	try {
		if (stop.signal?.aborted) throw stopped(stop.signal.reason);
		const lock = await folder.lock(stoppable);
		try {
			return await whileTelling(pipeline, folder, options.progress, (progress) =>
				lockedRun(pipeline, { ...stoppable, progress }, folder, resolved, model.dir, stack),
			);
		} finally {
			lock.release();
		}
	} finally {
		stop.clear();
	}
}

/** The run itself, under the lock of its folder. */
async function lockedRun(
	pipeline: LoadedPipeline,
	options: RunOptions,
	folder: RunFolder,
	resolved: PipelineConfig,
	modelDir: string,
	stack: readonly string[],
): Promise<RunResult> {
	const removed = await folder.create();
	// What the champion link leads to stays as it is, unless this run does the very same work again.
	folder.kept = await championOf(pipeline, folder).is(folder.path);
	const presentReport = await readFile(folder.file(reportFile), "utf8").catch(() => undefined);
	if (!folder.kept) {
		await folder.clear();
		await folder.status({ status: "running", stages: [] });
		await writeFileWhole(folder.file(configFile), stringify(resolved));
	}
	await folder.journal({ event: "run", name: resolved.name, as_of: pipeline.asOf });
	if (removed.length > 0) await folder.journal({ event: "cleaned", removed });

	const session = new ModelSession(modelDir, stack, {
		device: resolved.device,
		dtype: resolved.dtype,
		threads: resolved.threads,
	});
	const identity = {
		addon: await addonIdentity(),
		model: await hashFolder(modelDir),
		stack: await Promise.all(stack.map(hashFolder)),
	};
	const run = new Run(pipeline, options, folder, session, identity);
	let failure: unknown;
	let promotion: Promotion | undefined;
	try {
		await run.all();
		if (session.stack.length > 0) await foldAdapterFolders(session.stack, folder.file("adapter"));
		if (resolved.promote) promotion = await promote(challenger(run, pipeline, folder, options), resolved.promote);
	} catch (error) {
		failure = error;
	} finally {
		await session.close();
	}
	if (failure !== undefined && folder.kept) {
		const { exitStatus, ...end } = endOf(failure);
		await folder.status({ ...end, stages: run.summaries, exit_status: exitStatus });
		await folder.journal({ event: "finished", status: end.status, error: (failure as Error).message });
		throw failure;
	}
	const result = finish(run, folder, resolved, failure, promotion, presentReport);
	// Where the disk is full, the first error says more than the one of writing about it.
	if (failure !== undefined) {
		await result.catch(() => undefined);
		throw failure;
	}
	await result;
	if (resolved.keep) await keepRuns(pipeline, folder, resolved.keep, options.progress);
	return result;
}

/** The run as it asks to be promoted. */
const challenger = (run: Run, pipeline: LoadedPipeline, folder: RunFolder, options: RunOptions): Challenger => ({
	pipeline,
	folder,
	record: (stage) => run.newest.get(stage),
	gateFailures: run.gateFailures.map((s) => `${s.name}: ${s.note}`),
	settle: () => writeJson(folder.file(resultFile), { status: "done", stages: run.summaries }),
	progress: options.progress,
	signal: options.signal,
});

/** Writes what other programs read about a run that has ended. */
async function finish(
	run: Run,
	folder: RunFolder,
	config: PipelineConfig,
	failure: unknown,
	promotion: Promotion | undefined,
	presentReport: string | undefined,
): Promise<RunResult> {
	const { exitStatus, ...end } = failure === undefined ? endOfStages(run, promotion) : endOf(failure);
	const outcome = { ...end, stages: run.summaries, ...(promotion ? { promotion } : {}) };
	const report = runReport(outcome, run.records, config);
	await writeFileWhole(folder.file(reportFile), await reportPage(report, presentReport));
	await writeJson(folder.file(resultFile), outcome);
	await folder.status({ ...outcome, exit_status: exitStatus });
	await folder.journal({ event: "finished", status: outcome.status });
	return { ...outcome, folder: folder.path, exitStatus, report };
}

const endOfStages = (run: Run, promotion: Promotion | undefined): RunEnd =>
	run.gateFailures.length > 0 || promotion?.status === "not_promoted"
		? { status: "gate_not_passed", exitStatus: ExitStatus.gateNotPassed }
		: { status: "done", exitStatus: ExitStatus.ok };
