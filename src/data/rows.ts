/**
 * The shapes of rows: what a file's row means, checked and named, before any tokenizer.
 * @module
 */
import { FintuneError } from "../errors.js";
import { type RawRow, sourceText } from "./readers.js";
import { has, RowReader } from "./row_reader.js";
import type { Row, RowKind, Unplaced } from "./row_types.js";

export type * from "./row_types.js";

export interface ParseRowOptions {
	/** Which kinds the caller can use; a row that could be read in several ways is read as one of these. Default: all. */
	kinds?: readonly RowKind[];
}

type Value = Record<string, unknown>;

/** A kind, how its rows look, whether a row looks so, and how to read it. In the order in which they are tried. */
interface Shape {
	kind: RowKind;
	looks: string;
	fits(value: Value, strictLabel: boolean): boolean;
	read(reader: RowReader): Unplaced<Row>;
}

const shapes: readonly Shape[] = [
	{
		kind: "tokenised-pair",
		looks: "{prompt_ids, chosen_ids, rejected_ids}",
		fits: (value) => has(value, "prompt_ids", "chosen_ids", "rejected_ids"),
		read: (r) => ({
			kind: "tokenised-pair",
			promptIds: r.ids("prompt_ids"),
			chosenIds: r.ids("chosen_ids"),
			rejectedIds: r.ids("rejected_ids"),
		}),
	},
	{
		kind: "tokenised",
		looks: "{input_ids, completion_mask}, or {prompt_ids, completion_ids}, each also with label",
		fits: (value) => has(value, "input_ids") || has(value, "prompt_ids", "completion_ids"),
		read: (r) => r.tokenised(),
	},
	{
		kind: "preference",
		looks: "{prompt, chosen, rejected}, or {chosen, rejected} as messages",
		fits: (value) => has(value, "chosen", "rejected"),
		read: (r) => r.preference(),
	},
	{
		kind: "kto",
		looks: "{prompt, completion, label: true or false}",
		fits: (value, strict) => has(value, "prompt", "completion", "label") && (!strict || typeof value.label === "boolean"),
		read: (r) => r.kto(),
	},
	{
		kind: "prompt-completion",
		looks: "{prompt, completion}",
		fits: (value) => has(value, "prompt", "completion"),
		read: (r) => r.promptCompletion(),
	},
	{
		kind: "messages",
		looks: "{messages: [{role, content}, ...]}",
		fits: (value) => has(value, "messages"),
		read: (r) => ({ kind: "messages", messages: r.messages("messages"), superviseFrom: 0 }),
	},
	{ kind: "text", looks: "{text}", fits: (value) => has(value, "text"), read: (r) => ({ kind: "text", text: r.text("text") }) },
	{
		kind: "prompt",
		looks: "{prompt}",
		fits: (value) => has(value, "prompt"),
		read: (r) => ({ kind: "prompt", prompt: r.textOrMessages("prompt") }),
	},
];

/**
 * What a row means. Unused columns are kept in `extra`.
 * Errors: E_DATA_ROW for a row of no known or no wanted shape, or with a column of the wrong type.
 */
export function parseRow(raw: RawRow, options: ParseRowOptions = {}): Row {
	const { kinds } = options;
	const wanted = shapes.filter((shape) => !kinds || kinds.includes(shape.kind));
	const strictLabel = wanted.some((shape) => shape.kind === "prompt-completion");
	// Prompt and completion given as messages are a conversation.
	const asConversation = Array.isArray(raw.value.prompt) || Array.isArray(raw.value.completion);
	const candidates =
		asConversation && kinds?.includes("messages")
			? shapes.filter((s) => wanted.includes(s) || s.kind === "prompt-completion")
			: wanted;
	const shape = candidates.find((candidate) => candidate.fits(raw.value, strictLabel));
	if (!shape) throw unknownShape(raw, wanted);
	const reader = new RowReader(raw);
	const row = shape.read(reader);
	if (kinds && !kinds.includes(row.kind)) throw unknownShape(raw, wanted);
	return { ...row, source: raw.source, extra: reader.unused() } as Row;
}

function unknownShape(raw: RawRow, wanted: readonly Shape[]): FintuneError {
	const other = shapes.find((shape) => shape.fits(raw.value, true));
	const keys = Object.keys(raw.value).filter((key) => has(raw.value, key));
	return new FintuneError(
		"E_DATA_ROW",
		other ? `a row of kind ${other.kind} cannot be used here` : "is a row of no known shape",
		{
			expected: wanted.map((shape) => shape.looks).join("; "),
			found: keys.length === 0 ? "no columns" : `the columns ${keys.join(", ")}`,
			where: sourceText(raw.source),
		},
	);
}
