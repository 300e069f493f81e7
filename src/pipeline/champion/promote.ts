/**
 * Champion and challenger: whether the run that has just ended takes the place of the best run so far. The generations of
 * one evaluation stage in both runs are matched by document and tested by the paired bootstrap of `evaluate --compare`; the
 * link moves only for a gain that is large enough and significant. A promotion is a gate: it may read test splits, since
 * nothing is trained by what it finds.
 * @module
 */
import { existsSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { FintuneError } from "../../errors.js";
import { describeDifference } from "../../metrics/significance.js";
import type { Progress } from "../../report/progress.js";
import { compareOutputs } from "../../tasks/baselines/compare.js";
import { pairGenerations } from "../../tasks/baselines/pair.js";
import { taskByName } from "../../tasks/registry.js";
import { parseReference } from "../conditions.js";
import { type LoadedPipeline, resolvePath } from "../config.js";
import type { RunFolder, StageRecord } from "../folder.js";
import { lockRunFolder } from "../lock.js";
import { verifiedRun } from "../runs/reader.js";
import type { PromoteConfig } from "../schema.js";
import type { Promotion, PromotionFacts } from "../types.js";
import { Champion, type ChampionState, championStack, rolledBack } from "./champion.js";

/** A comparison takes seconds; others wait for it this long. */
const patienceSeconds = 600;

/** The run that asks to be promoted. */
export interface Challenger {
	pipeline: LoadedPipeline;
	folder: RunFolder;
	/** The newest record of a stage. */
	record(stage: string): StageRecord | undefined;
	/** Gates that it did not pass, as notes. */
	gateFailures: readonly string[];
	/** Makes the folder one of a finished run: a link must not lead to less. */
	settle(): Promise<void>;
	progress: Pick<Progress, "message">;
	signal?: AbortSignal | undefined;
}

/** The link of a pipeline whose run lies in this folder. */
export const championOf = (pipeline: LoadedPipeline, folder: Pick<RunFolder, "path">): Champion => {
	const place = pipeline.config.promote?.champion;
	return place === undefined ? Champion.beside(folder.path) : new Champion(resolvePath(pipeline, place));
};

/**
 * Decides, and moves the link where the run is to be the champion; the decision is in the run's journal before.
 * @throws FintuneError where the champion is missing, unfinished or damaged, or has answered other documents; E_LOCKED
 */
export async function promote(challenger: Challenger, config: PromoteConfig): Promise<Promotion> {
	const { pipeline, folder, progress, signal } = challenger;
	const champion = championOf(pipeline, folder);
	const wait = { waitSeconds: patienceSeconds, signal, onWait: (message: string) => progress.message(message) };
	const { lock, state } = await champion.hold((message) => progress.message(`promote: ${message}`), wait);
	try {
		const decision = await decide(challenger, config, champion, state);
		const { status, reason, facts } = decision;
		await folder.journal({ event: "promotion", status, reason, link: champion.link, facts: facts ?? null });
		if (status === "promoted") {
			await challenger.settle();
			await champion.move(folder.path, { event: state.run === undefined ? "first" : "promoted", ...facts! }, state);
		}
		progress.message(`promote: ${reason}`);
		const { run } = await champion.read();
		return { ...facts, metric: config.metric, status, reason, link: champion.link, champion: run ?? null };
	} finally {
		lock.release();
	}
}

type Signal = Pick<Challenger, "signal">;
interface Decision {
	status: Promotion["status"];
	reason: string;
	facts?: PromotionFacts;
}
const no = (reason: string, facts?: PromotionFacts): Decision => ({
	status: "not_promoted",
	reason: `not promoted: ${reason}`,
	...(facts ? { facts } : {}),
});

async function decide(
	{ pipeline, folder, record, gateFailures, signal }: Challenger,
	config: PromoteConfig,
	champion: Champion,
	state: ChampionState,
): Promise<Decision> {
	refuseLostChampion(champion, state);
	if (await champion.is(folder.path)) return { status: "champion", reason: "this run is the champion; nothing moves" };
	const [gate] = gateFailures;
	if (gate !== undefined) return no(gate);

	const { stage, task, metric } = parseReference(config.metric);
	const own = record(stage);
	if (!own || own.outcome.status === "skipped") return no(`${stage} was skipped`);
	const score = own.outcome.metrics[`${taskByName(task!).name}.${metric}`];
	if (score === undefined) return no(`${config.metric} is not defined`);
	const facts = { metric: config.metric, score, identity: own.identity };
	const by = rolledBack(state.moves, own.identity);
	if (by) return no(`it was rolled back at ${by.time}; fintune champion set ${folder.path} puts it back`);

	if (config.against === "champion" && state.run === undefined) {
		return { status: "promoted", reason: `promoted: the first champion, ${config.metric} = ${shown(score)}`, facts };
	}
	const opponent = config.against === "champion" ? state.run! : resolvePath(pipeline, config.against);
	const name = config.against === "champion" ? `the champion ${championStack(state.moves).at(-1)!.run}` : opponent;
	const test = await compareWith(opponent, { folder, own, task: task!, metric, signal }, name);
	if (!test) return no(`${config.metric} is not defined for ${name}`);
	const higher = taskByName(task!).metrics[plain(metric)]?.higherIsBetter ?? true;
	const [gain, low, high] = higher ? [test.difference, test.low, test.high] : [0 - test.difference, 0 - test.high, 0 - test.low];
	const decided = { ...facts, gain, low, high, p: test.pValue };
	const words = `${config.metric} ${shown(test.second)} against ${shown(test.first)} of ${name} (${describeDifference(test)})`;
	if (gain > 0 && gain >= config.min_gain && test.pValue < config.significance) {
		return { status: "promoted", reason: `promoted: ${words}`, facts: decided };
	}
	const why =
		gain <= 0
			? "no gain"
			: test.pValue >= config.significance
				? `the gain is not significant at ${config.significance}`
				: `the gain is smaller than min_gain ${config.min_gain}`;
	return no(`${why}: ${words}`, decided);
}

const shown = (value: number): string => value.toFixed(3);
/** strict_f1 is f1 by the corrected rules. */
const plain = (metric: string): string => metric.replace(/^strict_/, "");

/** @throws FintuneError E_NOT_FOUND: a champion that is lost is for people to replace */
function refuseLostChampion({ link }: Champion, { run, present, moves }: ChampionState): void {
	const last = championStack(moves).at(-1);
	const lost = run === undefined ? last !== undefined : !present;
	if (!lost) return;
	throw new FintuneError("E_NOT_FOUND", "the champion is lost", {
		where: link,
		expected: last ? `a link to the run ${last.run}` : "a link to a run folder",
		found: run === undefined ? "no link" : `a link to ${run}, which is not there`,
		hint: "fintune rollback goes back to the champion before, fintune champion set RUN names another; this run and its stages are kept",
	});
}

/** The paired test of this run's generations (second) against those of another (first). */
async function compareWith(
	opponent: string,
	{ folder, own, task: name, metric, signal }: { folder: RunFolder; own: StageRecord; task: string; metric: string } & Signal,
	called: string,
) {
	const task = taskByName(name);
	const self = (await realpath(folder.path)) === (await realpath(opponent).catch(() => opponent));
	// A run in it that is just going on takes the place of its own result.
	const lock =
		!self && existsSync(join(opponent, ".lock")) ? await lockRunFolder(opponent, { waitSeconds: 60, signal }) : undefined;
	try {
		const { folder: other, stages } = await verifiedRun(opponent);
		const found = stages.findLast((s) => s.name === own.name);
		if (!found) {
			throw new FintuneError("E_NOT_FOUND", `has no finished stage "${own.name}" to be compared with`, {
				where: opponent,
				found: `the stages ${stages.map((s) => s.name).join(", ")}`,
				hint: "fintune champion set RUN begins with another run",
			});
		}
		const file = (run: RunFolder, { name, iteration }: { name: string; iteration: number }): string =>
			join(run.stage(name, iteration), "generations", `${task.name}.jsonl`);
		const { docs, first, second } = await pairGenerations(file(other, found), file(folder, own));
		const scoring = metric.startsWith("strict_") ? "strict" : "leaderboard";
		return compareOutputs(task, docs, first, second, scoring, [called, "this run"], plain(metric));
	} finally {
		lock?.release();
	}
}
