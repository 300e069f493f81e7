/**
 * Reading the columns of one row with checks.
 * @module
 */
import { FintuneError } from "../errors.js";
import type { ChatMessage } from "../text/chat_template.js";
import { type RawRow, type Source, sourceText } from "./readers.js";
import type {
	KtoRow,
	MessagesRow,
	PreferenceRow,
	PromptCompletionRow,
	TextOrMessages,
	TokenisedRow,
	Unplaced,
} from "./row_types.js";

type Value = Record<string, unknown>;

/** Whether all these columns have a value (null, as parquet gives it for an absent one, is none). */
export const has = (value: Value, ...keys: string[]): boolean =>
	keys.every((key) => value[key] !== undefined && value[key] !== null);

/** Reads columns with checks, and remembers which were used. */
export class RowReader {
	readonly #value: Value;
	readonly #source: Source;
	readonly #used = new Set<string>();

	constructor(raw: RawRow) {
		this.#value = raw.value;
		this.#source = raw.source;
	}

	unused(): Value {
		return Object.fromEntries(Object.entries(this.#value).filter(([key]) => !this.#used.has(key)));
	}

	fail(summary: string, details: { expected?: string; found?: string; hint?: string } = {}): FintuneError {
		return new FintuneError("E_DATA_ROW", summary, { where: sourceText(this.#source), ...details });
	}

	#take(key: string): unknown {
		this.#used.add(key);
		return this.#value[key];
	}

	text(key: string): string {
		const value = this.#take(key);
		if (typeof value === "string") return value;
		throw this.fail(`${key} is not a text`, { expected: "a text", found: describe(value) });
	}

	textOrMessages(key: string): TextOrMessages {
		return Array.isArray(this.#value[key]) ? this.messages(key) : this.text(key);
	}

	messages(key: string): ChatMessage[] {
		const value = this.#take(key);
		if (!Array.isArray(value) || value.length === 0) {
			throw this.fail(`${key} is not a conversation`, { expected: "a list of {role, content}", found: describe(value) });
		}
		if (hasContent(this.#value.tools)) {
			throw this.fail("tools are not supported: they would be left out of the conversation");
		}
		return value.map((entry: unknown, i) => {
			const { role, content, tool_calls } = (entry ?? {}) as { role?: unknown; content?: unknown; tool_calls?: unknown };
			if (hasContent(tool_calls)) throw this.fail(`${key}[${i}] calls tools, which is not supported`);
			const text = messageText(content);
			if (typeof role === "string" && text !== undefined) return { role, content: text };
			throw this.fail(`${key}[${i}] is not a message`, { expected: "{role, content}, both texts", found: describe(entry) });
		});
	}

	ids(key: string): number[] {
		const value = this.#take(key);
		if (!Array.isArray(value)) throw this.fail(`${key} is not a list of token ids`, { found: describe(value) });
		const bad = value.findIndex((id) => !Number.isInteger(id) || id < 0 || id > 0x7fffffff);
		if (bad < 0) return value as number[];
		throw this.fail(`${key}[${bad}] is not a token id`, { expected: "an integer of at least 0", found: describe(value[bad]) });
	}

	/** A column of zeros and ones (or booleans) as long as the ids. */
	#mask(key: string, length: number): number[] {
		const value = this.#take(key);
		if (!Array.isArray(value)) throw this.fail(`${key} is not a list of 0 and 1`, { found: describe(value) });
		if (value.length !== length) {
			throw this.fail(`${key} and input_ids differ in length`, { expected: String(length), found: String(value.length) });
		}
		const bad = value.findIndex((bit) => bit !== 0 && bit !== 1 && typeof bit !== "boolean");
		if (bad < 0) return value.map(Number);
		throw this.fail(`${key}[${bad}] is not 0 or 1`, { found: describe(value[bad]) });
	}

	flag(key: string): boolean {
		const value = this.#take(key);
		const known = new Map<unknown, boolean>([
			[true, true],
			[false, false],
			[1, true],
			[0, false],
		]);
		const answer = known.get(value) ?? (typeof value === "string" ? textFlags[value.toLowerCase()] : undefined);
		if (answer !== undefined) return answer;
		throw this.fail(`${key} is not true or false`, { found: describe(value) });
	}

	/** Whether one of our or TRL's marks says that an answer was cut off. */
	#truncated(reasonKey: string, flagKey: string): boolean {
		const reason = has(this.#value, reasonKey) ? this.text(reasonKey) : undefined;
		const flag = has(this.#value, flagKey) && this.flag(flagKey);
		return reason === "length" || flag;
	}

	tokenised(): Unplaced<TokenisedRow> {
		const label = has(this.#value, "label") && typeof this.#value.label === "boolean" ? { label: this.flag("label") } : {};
		if (!has(this.#value, "input_ids")) {
			const prompt = this.ids("prompt_ids");
			const completion = this.ids("completion_ids");
			const mask = [...prompt.map(() => 0), ...completion.map(() => 1)];
			return { kind: "tokenised", inputIds: [...prompt, ...completion], completionMask: mask, ...label };
		}
		const inputIds = this.ids("input_ids");
		let mask = inputIds.map(() => 1);
		for (const key of ["completion_mask", "assistant_masks"]) {
			if (!has(this.#value, key)) continue;
			const column = this.#mask(key, inputIds.length);
			mask = mask.map((bit, t) => bit & column[t]!);
		}
		if (has(this.#value, "labels")) mask = this.#maskOfLabels(inputIds, mask);
		this.#take("attention_mask");
		return { kind: "tokenised", inputIds, completionMask: mask, ...label };
	}

	/** transformers' `labels`: -100 where a token does not count, else the token itself. */
	#maskOfLabels(inputIds: readonly number[], mask: readonly number[]): number[] {
		const labels = this.#take("labels");
		if (!Array.isArray(labels) || labels.length !== inputIds.length) {
			throw this.fail("labels and input_ids differ in length", { expected: String(inputIds.length), found: describe(labels) });
		}
		const bad = labels.findIndex((label, t) => label !== -100 && label !== inputIds[t]);
		if (bad < 0) return mask.map((bit, t) => bit & (labels[t] === -100 ? 0 : 1));
		throw this.fail(`labels[${bad}] is neither -100 nor the token of input_ids`, { found: describe(labels[bad]) });
	}

	promptCompletion(): Unplaced<PromptCompletionRow | MessagesRow> {
		const prompt = this.textOrMessages("prompt");
		const completion = this.textOrMessages("completion");
		if (typeof prompt === "string" && typeof completion === "string") return { kind: "prompt-completion", prompt, completion };
		const context = asMessages(prompt, "user");
		return { kind: "messages", messages: [...context, ...asMessages(completion, "assistant")], superviseFrom: context.length };
	}

	kto(): Unplaced<KtoRow> {
		const label = this.flag("label");
		const truncated = this.#truncated("finish_reason", "completion_is_truncated");
		const prompt = this.textOrMessages("prompt");
		const completion = this.textOrMessages("completion");
		const rest = { label, truncated: truncated && !label };
		if (typeof prompt === "string" && typeof completion === "string") return { kind: "kto", prompt, completion, ...rest };
		const answer = this.#answer("completion", asMessages(completion, "assistant"));
		return { kind: "kto", prompt: asMessages(prompt, "user"), completion: answer, ...rest };
	}

	preference(): Unplaced<PreferenceRow> {
		const rejectedTruncated = this.#truncated("rejected_finish_reason", "rejected_is_truncated");
		const chosen = this.textOrMessages("chosen");
		const rejected = this.textOrMessages("rejected");
		const prompt = has(this.#value, "prompt") ? this.textOrMessages("prompt") : undefined;
		if (typeof chosen === "string" && typeof rejected === "string" && prompt !== undefined) {
			if (typeof prompt === "string") return { kind: "preference", prompt, chosen, rejected, rejectedTruncated };
			const answers = { chosen: asMessages(chosen, "assistant"), rejected: asMessages(rejected, "assistant") };
			return { kind: "preference", prompt, ...answers, rejectedTruncated };
		}
		if (typeof chosen === "string" || typeof rejected === "string") {
			throw this.fail(prompt === undefined ? "a preference row of texts needs a prompt" : "chosen and rejected differ in kind", {
				expected: "prompt, chosen and rejected as texts, or chosen and rejected as messages",
			});
		}
		let common = 0;
		while (common < Math.min(chosen.length, rejected.length) - 1 && sameMessage(chosen[common]!, rejected[common]!)) common++;
		const shared = chosen.slice(0, common);
		if (typeof prompt === "string" && common > 0 && !shared.some((message) => message.content === prompt)) {
			throw this.fail("prompt is not among the messages that chosen and rejected begin with", { found: describe(prompt) });
		}
		const given = prompt === undefined || (typeof prompt === "string" && common > 0) ? [] : asMessages(prompt, "user");
		const context = [...given, ...shared];
		if (context.length === 0) throw this.fail("chosen and rejected have no messages in common, and there is no prompt");
		return {
			kind: "preference",
			prompt: context,
			chosen: this.#answer("chosen", chosen.slice(common)),
			rejected: this.#answer("rejected", rejected.slice(common)),
			rejectedTruncated,
		};
	}

	/** One assistant message. */
	#answer(key: string, messages: ChatMessage[]): ChatMessage[] {
		if (messages.length === 1 && messages[0]!.role === "assistant") return messages;
		throw this.fail(`${key} is not one assistant message after the common messages`, {
			found: messages.map((message) => message.role).join(", "),
		});
	}
}

const textFlags: Record<string, boolean> = { true: true, false: false, "1": true, "0": false };
const sameMessage = (a: ChatMessage, b: ChatMessage): boolean => a.role === b.role && a.content === b.content;
const asMessages = (value: TextOrMessages, role: string): ChatMessage[] =>
	typeof value === "string" ? [{ role, content: value }] : value;
const hasContent = (value: unknown): boolean => (Array.isArray(value) ? value.length > 0 : value !== undefined && value !== null);

/** A message's text; a list of text parts is joined. */
function messageText(content: unknown): string | undefined {
	if (typeof content === "string") return content;
	if (!Array.isArray(content)) return undefined;
	const texts = content.map((part: { type?: unknown; text?: unknown } | null) =>
		part?.type === "text" && typeof part.text === "string" ? part.text : undefined,
	);
	return texts.every((text) => text !== undefined) ? texts.join("") : undefined;
}

function describe(value: unknown): string {
	if (value === undefined) return "nothing";
	const text = JSON.stringify(value) ?? String(value);
	return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
