/**
 * The examples of a training stage, from files, tasks and earlier stages, with a summary of what was kept and dropped.
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { MatchKind } from "../data/decontaminate.js";
import { type EncodeRowsOptions, type Example, encodeRows, type PairExample, type SequenceExample } from "../data/examples.js";
import { exampleLength, type LengthTable } from "../data/lengths.js";
import { mixEpoch } from "../data/mix.js";
import { type RawRow, readRows } from "../data/readers.js";
import type { RowKind } from "../data/rows.js";
import { readModelConfig } from "../engine/model_config.js";
import { FintuneError } from "../errors.js";
import { taskByName } from "../tasks/registry.js";
import type { Task, TaskRow } from "../tasks/task.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { limitRows } from "./choose_rows.js";
import type { StageContext } from "./context.js";
import type { StoredGeneration } from "./evaluate.js";
import { admitted, generations, type LeakCheck, LeakTally, trainingRows } from "./leaks.js";
import { promptIds } from "./prompts.js";
import type { DataSource, DpoConfig, PretrainConfig, SftConfig } from "./schema.js";

export interface Examples {
	sequences: SequenceExample[];
	pairs: PairExample[];
}

export interface TrainingData extends Examples {
	validation?: Examples;
	/** Present where sources have weights. */
	draw?: (epoch: number) => readonly number[];
	/** One line: rows, lengths, what was dropped and why. */
	summary: string;
	/** Rows with a text of a test split, for the stage's metrics. */
	leaks: Record<string, number>;
}

/** What earlier stages leave in their folders. */
const rowsFile = "rows.jsonl";
const generationFiles = join("generations", "*.jsonl");

type Config = SftConfig | DpoConfig | PretrainConfig;

/** Which rows a stage can learn from. */
function kindsOf(config: Config): RowKind[] {
	if (config.type === "dpo") return config.loss_type === "kto" ? ["kto", "tokenised"] : ["preference", "tokenised-pair"];
	return ["prompt-completion", "messages", "text", "tokenised"];
}

/**
 * Reads and encodes all sources of a stage. Empty results of `from` sources are not an error: the stage is skipped then.
 * @throws FintuneErrors with every bad row; E_DATA_TOO_LONG under max_length_policy "error"
 */
export async function readTrainingData(context: StageContext, config: Config): Promise<TrainingData> {
	const encoder = await encoderFor(context, config);
	const notes: string[] = [];
	const sources: { examples: Example[]; weight?: number }[] = [];
	const leaks = new LeakTally(config.allow_leaks);
	for (const source of config.data) {
		const tally = new LeakTally(config.allow_leaks);
		const { examples, note } = await readSource(context, config, source, encoder, tally);
		notes.push([note, tally.note()].filter(Boolean).join(", "));
		leaks.add(tally);
		sources.push({ examples, ...(source.weight === undefined ? {} : { weight: source.weight }) });
	}
	const all = sources.flatMap((s) => s.examples);
	const weighted = sources.some((s) => s.weight !== undefined);
	const seed = config.seed ?? context.seed;
	const sizes = sources.map(({ examples, weight }) => ({ size: examples.length, ...(weight === undefined ? {} : { weight }) }));
	const validation = await readValidation(context, config, encoder, notes);
	const summary = notes.join("; ");
	context.log(`${context.name}: ${summary}`);
	return {
		...byKind(all),
		...(validation ? { validation } : {}),
		...(weighted && all.length > 0 ? { draw: (epoch: number) => Array.from(mixEpoch(sizes, seed, epoch)) } : {}),
		summary,
		leaks: leaks.metrics(),
	};
}

const byKind = (examples: readonly Example[]): Examples => ({
	sequences: examples.filter((e) => e.kind === "sequence"),
	pairs: examples.filter((e) => e.kind === "pair"),
});

/** What turns rows into examples of one model. */
interface Encoder {
	/** Tokenised rows need none; text without one is refused row by row. */
	tokenizer: Tokenizer | undefined;
	vocabSize: number;
	/** max_length, or the model's positions where these are fewer. */
	maxLength: number;
}

async function encoderFor(context: StageContext, config: Config): Promise<Encoder> {
	const { dir } = context.session.folder();
	const { vocabSize, maxPositions } = (await readModelConfig(dir)).config;
	if (config.max_length > maxPositions) {
		context.log(
			`${context.name}: max_length ${config.max_length} is more than the model's ${maxPositions} positions, which hold`,
		);
	}
	return {
		tokenizer: existsSync(join(dir, "tokenizer.json")) ? await context.session.tokenizer() : undefined,
		vocabSize,
		maxLength: Math.min(config.max_length, maxPositions),
	};
}

async function readSource(
	context: StageContext,
	config: Config,
	source: DataSource,
	encoder: Encoder,
	tally: LeakTally,
): Promise<{ examples: Example[]; note: string }> {
	const { leaks } = context;
	if ("task" in source) {
		const task = taskByName(source.task);
		context.session.tellLicence(task, context.log);
		const { rows, leaks: kinds } = await leaks.taskRows(task, source.split);
		const clean = rows.filter((row) => tally.admit(kinds.get(row)));
		const kept = limitRows(clean, source.limit, context.seed);
		return encode(`${task.name} ${source.split}`, taskRows(kept, config), config, encoder, tally);
	}
	const fromFiles = async (name: string, files: string): Promise<{ examples: Example[]; note: string }> => {
		const kinds = await leaks.files(files, trainingRows(kindsOf(config)));
		const rows = admitted(readRows(files), (_, place) => kinds.get(place), tally);
		return encode(name, limited(rows, source.limit), config, encoder, tally);
	};
	if ("path" in source) return fromFiles(source.path, context.resolvePath(source.path));
	const rows = join(context.stageFolder(source.from), rowsFile);
	if (existsSync(rows)) return fromFiles(source.from, rows);
	if (config.type !== "dpo")
		throw new FintuneError("E_CONFIG", `"${source.from}" left no training rows`, { where: `stages.${context.name}.data` });
	return pairsFromGenerations(context, config, { ...source, rejected: source.rejected ?? "overlong" }, encoder, tally);
}

/**
 * How the rows of a source repeat test texts: what decides, beside the source's own content, which of them are trained
 * on. Tasks are not asked: their rows are few, and are hashed as they are trained on.
 */
export async function leaksOfFiles(
	leaks: LeakCheck,
	config: Config,
	source: DataSource,
	{ resolvePath, stageFolder }: Pick<StageContext, "resolvePath" | "stageFolder">,
): Promise<ReadonlyMap<number, MatchKind>> {
	if ("task" in source) return new Map();
	if ("path" in source) return leaks.files(resolvePath(source.path), trainingRows(kindsOf(config)));
	const folder = stageFolder(source.from);
	const rows = join(folder, rowsFile);
	if (existsSync(rows)) return leaks.files(rows, trainingRows(kindsOf(config)));
	return leaks.files(join(folder, generationFiles), generations);
}

async function* limited(rows: AsyncIterable<RawRow>, limit = Number.POSITIVE_INFINITY): AsyncGenerator<RawRow> {
	let count = 0;
	for await (const row of rows) {
		yield row;
		if (++count >= limit) return;
	}
}

/** A task's training row is query + " " + answer + EOS; the chat template wraps it instead where asked. */
function* taskRows(rows: readonly TaskRow[], config: Config): Generator<RawRow> {
	for (const { query, answer, source } of rows) {
		const value = config.chat_template
			? {
					messages: [
						{ role: "user", content: query },
						{ role: "assistant", content: answer },
					],
				}
			: config.type === "dpo" && config.loss_type !== "kto"
				? { prompt: query }
				: { prompt: query, completion: ` ${answer}`, ...(config.type === "dpo" ? { label: true } : {}) };
		yield { value, source };
	}
}

async function encode(
	name: string,
	rows: AsyncIterable<RawRow> | Iterable<RawRow>,
	config: Config,
	{ tokenizer, vocabSize, maxLength }: Encoder,
	tally?: LeakTally,
): Promise<{ examples: Example[]; note: string }> {
	const split = config.type === "pretrain" && config.max_length_policy === "split";
	const options: EncodeRowsOptions = {
		kinds: kindsOf(config),
		assistantOnlyLoss: config.assistant_only_loss,
		appendEosToText: config.type === "pretrain",
		vocabSize,
		...(split ? {} : { maxLength, lengthPolicy: config.max_length_policy === "drop" ? "drop" : "error" }),
	};
	const { examples, lengths, unencodable } = await encodeRows(rows, tokenizer, options).catch((error: unknown) => {
		tally?.refuseIfEmpty(name);
		throw error;
	});
	const used = split ? examples.flatMap((e) => windows(e, maxLength)) : examples;
	const notes = [lengthNote(lengths)];
	if (used.length !== examples.length) notes.push(`split into ${used.length} windows of at most ${maxLength}`);
	if (unencodable.rows > 0) {
		notes.push(`${unencodable.rows} rows with characters that the tokenizer loses: ${unencodable.characters.join(" ")}`);
	}
	return { examples: used, note: `${name}: ${notes.join(", ")}` };
}

function lengthNote({ count, min, median, p95, max, over, dropped, maxLength }: LengthTable): string {
	const lost = over > 0 ? `, ${dropped} dropped as longer than ${maxLength}` : "";
	return `${count} rows, tokens min ${min} median ${median} p95 ${p95} max ${max}${lost}`;
}

/** A long text as consecutive rows; every token stays, and each window's first token is only context. */
function windows(example: Example, size: number): Example[] {
	if (example.kind === "pair" || exampleLength(example) <= size) return [example];
	const parts: SequenceExample[] = [];
	for (let at = 0; at < example.inputIds.length; at += size) {
		const inputIds = example.inputIds.slice(at, at + size);
		if (inputIds.length < 2) continue; // one token predicts nothing
		const completionMask = example.completionMask.slice(at, at + size);
		completionMask[0] = 0;
		parts.push({ ...example, inputIds, completionMask });
	}
	return parts;
}

/**
 * Pairs from an evaluation of the present model: chosen is the data set's answer with EOS, rejected what the model
 * itself wrote. A rejected answer that was cut off gets no EOS, else the model would learn that it ends there.
 */
async function pairsFromGenerations(
	context: StageContext,
	config: DpoConfig,
	{ from, rejected: which, limit }: { from: string; rejected: "overlong" | "wrong" | "any"; limit?: number | undefined },
	{ tokenizer, maxLength }: Encoder,
	tally: LeakTally,
): Promise<{ examples: PairExample[]; note: string }> {
	if (!tokenizer) throw new FintuneError("E_NOT_FOUND", "pairs from generations need the model's tokenizer.json");
	const examples: PairExample[] = [];
	let generated = 0;
	const files = join(context.stageFolder(from), generationFiles);
	const leaks = await context.leaks.files(files, generations);
	for await (const { value, source } of readRows(files)) {
		const leak = leaks.get(generated++);
		const row = value as unknown as StoredGeneration;
		const overlong = row.finish_reason === "length";
		const wrong = !overlong && row.correct === false;
		if (!(which === "overlong" ? overlong : which === "wrong" ? wrong : overlong || wrong) || !tally.admit(leak)) continue;
		const rejected = overlong ? row.output_ids : [...row.output_ids, tokenizer.eosId];
		examples.push({
			kind: "pair",
			promptIds: Int32Array.from(promptIds(row.query, tokenizer, row.chat_template === true)),
			chosenIds: Int32Array.from([...tokenizer.encode(` ${row.answer}`, { addSpecialTokens: false }), tokenizer.eosId]),
			rejectedIds: Int32Array.from(rejected),
			source,
		});
	}
	const short = examples.filter((e) => exampleLength(e) <= maxLength);
	const long = examples.length - short.length;
	if (long > 0 && config.max_length_policy === "error") {
		throw new FintuneError("E_DATA_TOO_LONG", `${long} of ${examples.length} pairs from "${from}" are longer than max_length`, {
			expected: `at most ${maxLength} tokens`,
			hint: "raise max_length or set max_length_policy: drop",
		});
	}
	const used = short.slice(0, limit);
	const dropped = long > 0 ? `, ${long} dropped as longer than ${maxLength}` : "";
	return { examples: used, note: `${from}: ${used.length} pairs from ${generated} generations (rejected: ${which}${dropped})` };
}

async function readValidation(
	context: StageContext,
	config: Config,
	encoder: Encoder,
	notes: string[],
): Promise<Examples | undefined> {
	const { validation } = config;
	if (!validation) return undefined;
	const examples: Example[] = [];
	const add = (part: { examples: Example[]; note: string }): void => {
		examples.push(...part.examples);
		notes.push(`validation ${part.note}`);
	};
	if (validation.path !== undefined) {
		add(
			await encode(validation.path, limited(readRows(context.resolvePath(validation.path)), validation.limit), config, encoder),
		);
	}
	if (validation.split !== undefined) {
		const tasks = new Set(config.data.flatMap((s): Task[] => ("task" in s ? [taskByName(s.task)] : [])));
		if (tasks.size === 0 && validation.path === undefined) {
			throw new FintuneError("E_CONFIG", "validation.split needs a task among the stage's data", {
				where: `stages.${context.name}.validation`,
				hint: "give validation.path instead",
			});
		}
		for (const task of tasks) {
			const rows = limitRows(await task.load(validation.split, context.dataDirs), validation.limit, context.seed);
			add(await encode(`${task.name} ${validation.split}`, taskRows(rows, config), config, encoder));
		}
	}
	return byKind(examples);
}
