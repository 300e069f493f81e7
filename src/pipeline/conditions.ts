/**
 * Conditions on metrics of earlier stages: `check.overlong > 0.05`, `final.ner.entity_f1 >= before.ner.entity_f1`,
 * joined by `and` / `or` (`and` binds closer).
 * @module
 */
import { FintuneError } from "../errors.js";

/** stage.metric (pooled over the stage's rows) or stage.task.metric. */
export interface MetricReference {
	stage: string;
	task?: string;
	metric: string;
}
export type Operand = { value: number } | { reference: MetricReference };
export interface Comparison {
	left: Operand;
	operator: "<" | "<=" | ">" | ">=" | "==" | "!=";
	right: Operand;
}
/** A disjunction of conjunctions. */
export interface Condition {
	text: string;
	alternatives: Comparison[][];
}

const operandPattern = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[A-Za-z][\w-]*(?:\.[\w/@-]+){1,2})$/;

const compare: Record<Comparison["operator"], (a: number, b: number) => boolean> = {
	"<": (a, b) => a < b,
	"<=": (a, b) => a <= b,
	">": (a, b) => a > b,
	">=": (a, b) => a >= b,
	"==": (a, b) => a === b,
	"!=": (a, b) => a !== b,
};

function parseOperand(text: string, condition: string): Operand {
	if (!operandPattern.test(text)) {
		throw new FintuneError("E_CONFIG", `"${text}" in the condition "${condition}" is neither a number nor a metric`, {
			expected: "a number, stage.metric or stage.task.metric",
		});
	}
	const number = Number(text);
	if (!Number.isNaN(number)) return { value: number };
	return { reference: parseReference(text) };
}

/** The parts of stage.metric or stage.task.metric. */
export function parseReference(text: string): MetricReference {
	const [stage, second, third] = text.split(".") as [string, string, string | undefined];
	return third === undefined ? { stage, metric: second } : { stage, task: second, metric: third };
}

/** Reads a condition. @throws FintuneError E_CONFIG that shows what was expected */
export function parseCondition(text: string): Condition {
	const words = text
		.replace(/<=|>=|==|!=|<|>/g, " $& ")
		.trim()
		.split(/\s+/);
	const alternatives = splitAt(words, "or").map((alternative) =>
		splitAt(alternative, "and").map(([left, operator, right, ...more]): Comparison => {
			if (left === undefined || right === undefined || more.length > 0 || !isOperator(operator)) {
				throw new FintuneError("E_CONFIG", `cannot read the condition "${text}"`, {
					expected: "comparisons such as check.overlong > 0.05, joined by and / or",
					found: [left, operator, right, ...more].join(" ").trim() || "nothing",
				});
			}
			return { left: parseOperand(left, text), operator, right: parseOperand(right, text) };
		}),
	);
	return { text, alternatives };
}

/** The stretches between the places where `word` stands. */
function splitAt(words: readonly string[], word: string): string[][] {
	const parts: string[][] = [[]];
	for (const each of words) {
		if (each === word) parts.push([]);
		else parts.at(-1)!.push(each);
	}
	return parts;
}

const isOperator = (word: string | undefined): word is Comparison["operator"] => word !== undefined && word in compare;

/** Every metric a condition reads. */
export function references(condition: Condition): MetricReference[] {
	return condition.alternatives
		.flat()
		.flatMap(({ left, right }) => [left, right])
		.flatMap((operand) => ("reference" in operand ? [operand.reference] : []));
}

/** The outcome of a condition with the values it read, for the journal and the terminal. */
export interface Outcome {
	holds: boolean;
	/** e.g. "check.overlong = 0.0816 > 0.05". */
	explanation: string;
	/** Metrics that do not exist: the condition cannot be decided. */
	missing: string[];
}

/** Decides a condition. `lookup` gives the newest value of a metric, or undefined where there is none. */
export function evaluateCondition(condition: Condition, lookup: (reference: MetricReference) => number | undefined): Outcome {
	const missing = new Set<string>();
	const show = (operand: Operand): { value: number | undefined; text: string } => {
		if ("value" in operand) return { value: operand.value, text: String(operand.value) };
		const { stage, task, metric } = operand.reference;
		const label = [stage, task, metric].filter((part) => part !== undefined).join(".");
		const value = lookup(operand.reference);
		if (value === undefined) missing.add(label);
		return { value, text: `${label} = ${value === undefined ? "?" : Number(value.toPrecision(4))}` };
	};
	const evaluated = condition.alternatives.map((comparisons) =>
		comparisons.map(({ left, operator, right }) => {
			const a = show(left);
			const b = show(right);
			const holds = a.value !== undefined && b.value !== undefined && compare[operator](a.value, b.value);
			return { holds, text: `${a.text} ${operator} ${b.text}` };
		}),
	);
	return {
		holds: evaluated.some((comparisons) => comparisons.every((c) => c.holds)),
		explanation: evaluated.map((comparisons) => comparisons.map((c) => c.text).join(" and ")).join(" or "),
		missing: [...missing],
	};
}
