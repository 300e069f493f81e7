/**
 * Prompts of a later turn hold "{answer0}", "{answer1}", ...: the model's own earlier outputs go there, as Python's
 * `str.format` puts them, which is what the leaderboard calls.
 * @module
 */
import { FintuneError } from "../errors.js";

/**
 * The prompt of a turn. The first turn's stays as it is.
 * @param earlier the model's outputs of the turns before, not stripped
 * @throws FintuneError E_DATA_FORMAT where the leaderboard's code would crash: another brace, or an answer not given yet
 */
export function fillEarlierAnswers(query: string, turn: number, earlier: readonly string[]): string {
	if (turn === 0) return query;
	let filled = "";
	for (let at = 0; at < query.length; ) {
		const c = query[at] as string;
		if (c !== "{" && c !== "}") {
			filled += c;
			at++;
		} else if (query[at + 1] === c) {
			filled += c;
			at += 2;
		} else if (c === "}") {
			throw crash("ValueError", "a closing brace without an opening one", query, at);
		} else {
			const end = query.indexOf("}", at);
			const inner = query.indexOf("{", at + 1);
			if (end < 0 || (inner >= 0 && inner < end)) throw crash("ValueError", "an opening brace without a closing one", query, at);
			filled += field(query.slice(at + 1, end), earlier, query, at);
			at = end + 1;
		}
	}
	return filled;
}

/** answer0, answer0!r, answer0!s, answer0[3]. */
function field(text: string, earlier: readonly string[], query: string, at: number): string {
	const match = /^answer(\d+)(?:\[(\d+)\])?(?:!([rs]))?$/.exec(text);
	const answer = match ? earlier[Number(match[1])] : undefined;
	if (!match || answer === undefined) throw crash("KeyError", `{${text}} is no earlier answer`, query, at);
	const [, , index, conversion] = match;
	const characters = Array.from(answer);
	if (index !== undefined && Number(index) >= characters.length) {
		throw crash("IndexError", `{${text}}: the answer has ${characters.length} characters`, query, at);
	}
	const value = index === undefined ? answer : (characters[Number(index)] as string);
	return conversion === "r" ? pythonRepr(value) : value;
}

/** `repr` of a text, as far as answers need it. */
function pythonRepr(text: string): string {
	const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
	const body = text
		.replaceAll("\\", "\\\\")
		.replaceAll("\n", "\\n")
		.replaceAll("\r", "\\r")
		.replaceAll("\t", "\\t")
		.replaceAll(quote, `\\${quote}`);
	return `${quote}${body}${quote}`;
}

function crash(exception: string, reason: string, query: string, at: number): FintuneError {
	return new FintuneError("E_DATA_FORMAT", `the prompt of a later turn cannot be filled (${exception})`, {
		expected: "{answer0}, {answer1}, ... of the turns before; other braces doubled",
		found: `${reason}, at "${query.slice(Math.max(0, at - 20), at + 30)}"`,
	});
}
