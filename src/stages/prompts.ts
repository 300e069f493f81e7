/**
 * A task's rows as the token ids that a model is asked with: examples before the question, the chat template, and what
 * happens to a prompt that is too long.
 * @module
 */
import type { Model } from "../engine/model.js";
import { FintuneError } from "../errors.js";
import type { Task, TaskRow } from "../tasks/task.js";
import { type Tokenizer, turnEndId } from "../text/tokenizer.js";
import { limitRows } from "./choose_rows.js";
import type { StageContext } from "./context.js";
import type { EvaluateConfig, GenerationConfig } from "./schema.js";

/** Length of prompt and answer together that the leaderboard's harness allows a model at most. */
const harnessMaxLength = 2048;

/** A question with its answer, shown to the model before the one it is asked. */
export type Shot = Pick<TaskRow, "query" | "answer">;

/**
 * Ids that a task's prompt becomes: the query as it stands, or wrapped by the chat template. Shots come first as
 * training rows are written (query, blank, answer), with an empty line after each; under the chat template as turns.
 */
export function promptIds(query: string, tokenizer: Tokenizer, chatTemplate: boolean, shots: readonly Shot[] = []): number[] {
	if (!chatTemplate) return tokenizer.encode(shots.map((shot) => `${shot.query} ${shot.answer}\n\n`).join("") + query);
	const turns = shots.flatMap((shot) => [
		{ role: "user", content: shot.query },
		{ role: "assistant", content: shot.answer },
	]);
	return tokenizer.encodeChat([...turns, { role: "user", content: query }], { addGenerationPrompt: true }).inputIds;
}

/** The token ids that end an answer: the model's own, and in a conversation the template's end of turn. */
export function stopIdsOf(model: Model, tokenizer: Tokenizer, chatTemplate: boolean): number[] {
	const turnEnd = chatTemplate ? turnEndId(tokenizer) : undefined;
	return [...new Set([...model.stopIds, tokenizer.eosId, ...(turnEnd === undefined ? [] : [turnEnd])])];
}

/** Sampling options of a stage under the engine's names. */
export const samplingOf = (config: GenerationConfig, seed: number) => ({
	temperature: config.temperature,
	topK: config.top_k,
	topP: config.top_p,
	minP: config.min_p,
	repetitionPenalty: config.repetition_penalty,
	maxBatch: config.generation_batch_size,
	seed,
});

/**
 * The `num_fewshot` examples of a task: a seeded choice of train rows, the same for every question, so that the engine
 * reads them once.
 * @throws FintuneError E_CONFIG where the evaluated split is train, or train has fewer rows
 */
export async function shotsOf(context: StageContext, task: Task, config: EvaluateConfig): Promise<Shot[]> {
	const count = config.num_fewshot;
	if (count === 0) return [];
	const where = `stages.${context.name}.num_fewshot`;
	if (config.split === "train") {
		throw new FintuneError("E_CONFIG", "examples are taken from train, which is what this stage evaluates", {
			where,
			expected: "split: valid or test",
		});
	}
	const train = await task.load("train", context.dataDirs);
	if (train.length < count) {
		throw new FintuneError("E_CONFIG", `task ${task.name} has too few train rows for the examples`, {
			where,
			expected: `at most ${train.length}`,
			found: `${count}`,
		});
	}
	return limitRows(train, count, context.seed);
}

/**
 * A prompt that fits, and whether it was cut. Under `prompt_truncation: leaderboard` the left end is cut away as the
 * leaderboard's harness does, which allows 2,048 tokens for prompt and answer (or the model's positions where fewer).
 * @throws FintuneError E_DATA_TOO_LONG under `refuse`
 */
export function fittingPrompt(
	ids: number[],
	{ file, line }: TaskRow["source"],
	task: Task,
	room: { maxPositions: number; maxNewTokens: number; truncation: EvaluateConfig["prompt_truncation"] },
): { ids: number[]; cut: boolean } {
	const cuts = room.truncation === "leaderboard";
	const most = Math.min(room.maxPositions, cuts ? harnessMaxLength : room.maxPositions) - room.maxNewTokens;
	if (ids.length <= most) return { ids, cut: false };
	if (cuts && most > 0) return { ids: ids.slice(ids.length - most), cut: true };
	throw new FintuneError("E_DATA_TOO_LONG", `a prompt of task ${task.name} leaves no room for ${room.maxNewTokens} new tokens`, {
		where: `${file}:${line}`,
		expected: `at most ${Math.max(0, most)} tokens (the model has ${room.maxPositions} positions)`,
		found: `${ids.length}`,
		hint: "lower max_new_tokens, use a model with more positions, or cut as the leaderboard does: prompt_truncation: leaderboard",
	});
}
