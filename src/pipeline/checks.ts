/**
 * What only the whole pipeline file can show: names, references between stages, metrics in conditions, and the rule that
 * the board's test rows teach and steer nothing.
 * @module
 */
import { FintuneError, nearestName } from "../errors.js";
import type { DataSource, DpoConfig, EvaluateConfig, StageConfig } from "../stages/schema.js";
import { taskByName } from "../tasks/registry.js";
import type { Task } from "../tasks/task.js";
import { type MetricReference, parseCondition, parseReference, references } from "./conditions.js";
import type { Path } from "./explain.js";
import type { PromoteConfig } from "./schema.js";

/** A stage that the schema refused: its name is known, and nothing more is said about what refers to it. */
export interface BrokenStage {
	name: string | undefined;
}
/** A stage as far as it could be read. */
export type CheckedStage = { config: StageConfig } | { broken: BrokenStage };

/** Metrics of a whole stage, by its type; those of one task are the task's own. */
const stageMetrics: Record<StageConfig["type"], readonly string[]> = {
	evaluate: ["overlong", "repetition"],
	synthesize: ["texts", "kept", "agreement", "unread", "overlong"],
	pretrain: ["loss", "steps", "kept_step", "eval_loss"],
	sft: ["loss", "steps", "kept_step", "eval_loss"],
	dpo: ["loss", "steps", "kept_step", "eval_loss"],
};

interface Details {
	expected?: string;
	found?: string;
	hint?: string;
}

/**
 * Every finding about the stages together.
 * @param adapters how many adapters lie on the model before the first stage
 * @param where file:line:column of a path
 * @param promote as far as the schema takes it
 */
export function crossChecks(
	stages: readonly CheckedStage[],
	adapters: number,
	where: (path: Path) => string,
	promote?: PromoteConfig,
): FintuneError[] {
	const checks = new Checks(where, adapters);
	stages.forEach((stage, index) => {
		checks.stage(stage, index);
	});
	if (promote) checks.promote(promote);
	return checks.errors;
}

class Checks {
	readonly errors: FintuneError[] = [];
	readonly #where: (path: Path) => string;
	readonly #earlier = new Map<string, CheckedStage>();
	/** What lies on the model: an earlier stage's name, or "adapters". */
	#top: string | undefined;

	constructor(where: (path: Path) => string, adapters: number) {
		this.#where = where;
		this.#top = adapters > 0 ? "adapters:" : undefined;
	}

	stage(stage: CheckedStage, index: number): void {
		const at = (...keys: Path): Path => ["stages", index, ...keys];
		const name = "config" in stage ? stage.config.name : stage.broken.name;
		if (name !== undefined && this.#earlier.has(name)) this.#report(at("name"), `two stages are called "${name}"`);
		if ("config" in stage) this.#config(stage.config, at);
		if (name !== undefined) this.#earlier.set(name, stage);
	}

	/** A promotion is a gate: it may read test splits. */
	promote({ metric }: PromoteConfig): void {
		const path = ["promote", "metric"];
		const reference = parseReference(metric);
		const source = this.#earlierStage(reference.stage, path);
		if (source) this.#metric(source, reference, path);
		if (["overlong", "repetition"].includes(reference.metric)) {
			this.#report(path, `${reference.metric} is no score of a task, and is not tested`, {
				hint: "make it a gate: of an evaluate stage",
			});
		}
	}

	#report(path: Path, message: string, details: Details = {}): void {
		this.errors.push(new FintuneError("E_CONFIG", message, { where: this.#where(path), ...details }));
	}

	#config(stage: StageConfig, at: (...keys: Path) => Path): void {
		this.#condition(stage, at, "when", stage.when);
		if (stage.type === "evaluate") {
			this.#condition(stage, at, "gate", stage.gate);
			stage.tasks.forEach((task, i) => {
				this.#split(this.#task(task, at("tasks", i)), stage.split, at("tasks", i));
			});
		} else if (stage.type === "synthesize") {
			this.#task(stage.task, at("task"));
		} else {
			if (stage.type === "dpo") this.#dpo(stage, at);
			this.#training(stage, at);
			if (stage.lora) this.#top = `"${stage.name}"`;
			else if (this.#top !== undefined) {
				this.#report(at(), `all parameters would be trained under the adapter of ${this.#top}`, {
					expected: "lora:",
					hint: "merge the adapter into a model first, or train all parameters before the first adapter",
				});
			}
		}
	}

	#task(name: string, path: Path): Task | undefined {
		try {
			return taskByName(name);
		} catch (error) {
			if (!(error instanceof FintuneError)) throw error;
			this.#report(path, `no task is called "${name}"`, {
				...(error.expected ? { expected: error.expected } : {}),
				...(error.hint ? { hint: error.hint } : {}),
			});
			return undefined;
		}
	}

	#split(task: Task | undefined, split: "train" | "valid" | "test", path: Path): void {
		if (!task || task.hasSplit(split)) return;
		const has = (["train", "valid", "test"] as const).filter((s) => task.hasSplit(s));
		this.#report(path, `task ${task.name} has no ${split} split`, { expected: `one of ${has.join(", ")}` });
	}

	#earlierStage(name: string, path: Path): StageConfig | undefined {
		const found = this.#earlier.get(name);
		if (found) return "config" in found ? found.config : undefined;
		const near = nearestName(name, this.#earlier.keys());
		this.#report(path, `no earlier stage is called "${name}"`, {
			found: `earlier: ${[...this.#earlier.keys()].join(", ") || "none"}`,
			...(near ? { hint: `did you mean "${near}"?` } : {}),
		});
		return undefined;
	}

	#condition(stage: StageConfig, at: (...keys: Path) => Path, key: "when" | "until" | "gate", text: string | undefined): void {
		if (text === undefined) return;
		const path = at(key);
		let read: MetricReference[];
		try {
			read = references(parseCondition(text));
		} catch (error) {
			if (!(error instanceof FintuneError)) throw error;
			this.errors.push(
				new FintuneError("E_CONFIG", error.message.split("\n")[0]!, {
					where: this.#where(path),
					...(error.expected ? { expected: error.expected } : {}),
					...(error.found ? { found: error.found } : {}),
				}),
			);
			return;
		}
		if (read.length === 0) this.#report(path, `${key}: reads no metric, so it never changes`, { found: text });
		for (const reference of read) {
			const own = reference.stage === stage.name && key === "gate";
			const source = own ? stage : this.#earlierStage(reference.stage, path);
			if (!source) continue;
			this.#metric(source, reference, path);
			if (key !== "gate" && this.#readsTest(source)) {
				this.#report(path, `the condition reads "${reference.stage}", which saw a test split`, {
					hint: "the board's test rows teach and steer nothing: evaluate a stage with split: valid and read that (a gate may read test)",
				});
			}
			if (key === "until" && source.type !== "evaluate" && source.type !== "synthesize") {
				this.#report(path, `until: reads "${source.name}", a ${source.type} stage, which each iteration would train again`, {
					expected: "a metric of an evaluate stage",
				});
			}
		}
	}

	#metric(source: StageConfig, { task, metric }: MetricReference, path: Path): void {
		if (task === undefined) {
			const known = stageMetrics[source.type];
			if (known.includes(metric)) return;
			const ofTask = source.type === "evaluate" ? ", or stage.task.metric for one task" : "";
			this.#unknownMetric(path, `a ${source.type} stage has no metric "${metric}"`, metric, known, ofTask);
			return;
		}
		if (source.type !== "evaluate") {
			this.#report(path, `"${source.name}" is a ${source.type} stage and has no metrics of single tasks`, {
				expected: `${source.name}. and one of ${stageMetrics[source.type].join(", ")}`,
			});
			return;
		}
		const found = tasksOf(source).find((t) => sameTask(t, task));
		if (!found) {
			const names = tasksOf(source).map((t) => t.name);
			const near = nearestName(task, names);
			this.#report(path, `"${source.name}" does not evaluate the task "${task}"`, {
				expected: `one of ${names.join(", ")}`,
				...(near ? { hint: `did you mean "${near}"?` } : {}),
			});
			return;
		}
		const names = Object.keys(found.metrics);
		const known = [...names, ...names.map((name) => `strict_${name}`), "overlong", "repetition"];
		if (!known.includes(metric)) this.#unknownMetric(path, `task ${found.name} has no metric "${metric}"`, metric, known, "");
	}

	#unknownMetric(path: Path, message: string, metric: string, known: readonly string[], more: string): void {
		const near = nearestName(metric, known);
		this.#report(path, message, {
			expected: `one of ${known.join(", ")}${more}`,
			...(near ? { hint: `did you mean "${near}"?` } : {}),
		});
	}

	#dpo(stage: DpoConfig, at: (...keys: Path) => Path): void {
		this.#condition(stage, at, "until", stage.until);
		if (stage.max_iterations > 1 && stage.until === undefined) {
			this.#report(at("max_iterations"), "max_iterations needs until:", { expected: "a condition that ends the iterations" });
		}
		if (stage.lora === undefined && !["simpo", "orpo"].includes(stage.loss_type)) {
			this.#report(at(), `loss_type ${stage.loss_type} needs a reference, which is the model without its newest adapter`, {
				expected: "lora:",
			});
		}
	}

	#training(stage: Extract<StageConfig, { data: unknown }>, at: (...keys: Path) => Path): void {
		const { validation } = stage;
		if (stage.max_steps !== undefined && stage.num_train_epochs !== undefined) {
			this.#report(at("max_steps"), "both max_steps and num_train_epochs are given", { expected: "one of them" });
		}
		if (stage.warmup_steps !== undefined && stage.warmup_ratio !== undefined) {
			this.#report(at("warmup_steps"), "both warmup_steps and warmup_ratio are given", { expected: "one of them" });
		}
		stage.data.forEach((source, i) => {
			this.#source(stage, source, at("data", i));
		});
		if (!validation) return;
		if (validation.split === undefined && validation.path === undefined) {
			this.#report(at("validation"), "validation needs split or path");
		}
		if (validation.split === "test") {
			this.#report(at("validation", "split"), "validation on a test split would steer training", { hint: "use split: valid" });
		}
		if (validation.split !== undefined && validation.path === undefined && !stage.data.some((s) => "task" in s)) {
			this.#report(at("validation", "split"), "validation.split needs a task among the stage's data", {
				hint: "give validation.path instead",
			});
		}
	}

	#source(stage: Extract<StageConfig, { data: unknown }>, source: DataSource, path: Path): void {
		const pairs = stage.type === "dpo" && stage.loss_type !== "kto";
		if ("task" in source) {
			const task = this.#task(source.task, [...path, "task"]);
			if (source.split === "test") {
				this.#report([...path, "split"], "training on a test split is refused", { hint: "use split: train" });
			} else this.#split(task, source.split, [...path, "task"]);
			if (pairs) {
				this.#report([...path, "task"], "a task's rows have no rejected answer", {
					expected: "from: an evaluate stage over the task's train split, or path: a file of preference rows",
				});
			}
		} else if ("from" in source) {
			const from = this.#earlierStage(source.from, [...path, "from"]);
			if (source.rejected !== undefined && (!pairs || (from && from.type !== "evaluate"))) {
				this.#report([...path, "rejected"], "rejected: chooses among the generations of an evaluate stage, for dpo pairs");
			}
			if (from) this.#from(stage, from, [...path, "from"]);
		}
	}

	#from(stage: Extract<StageConfig, { data: unknown }>, from: StageConfig, path: Path): void {
		const pairs = stage.type === "dpo" && stage.loss_type !== "kto";
		if (from.type !== "evaluate" && from.type !== "synthesize") {
			this.#report(path, `"${from.name}" is a ${from.type} stage and yields no rows`, {
				expected: "an evaluate or synthesize stage",
			});
			return;
		}
		if (this.#readsTest(from)) {
			this.#report(path, `"${from.name}" read a test split, and its rows would be trained on`, {
				hint: "use split: train or valid in that stage",
			});
		}
		if (from.type === "evaluate" && !pairs) {
			this.#report(path, "only dpo makes pairs from an evaluation's generations", { found: stageKind(stage) });
		}
		if (from.type === "synthesize" && (from.pairs === "dpo") !== pairs) {
			this.#report(path, `"${from.name}" makes rows for ${from.pairs}, not for ${stageKind(stage)}`, {
				hint: pairs ? `set pairs: dpo in "${from.name}"` : `set pairs: sft in "${from.name}"`,
			});
		}
	}

	/** Whether a stage saw test rows, itself or through what it was trained from. */
	#readsTest(stage: StageConfig): boolean {
		if (stage.type === "evaluate") return stage.split === "test";
		if (!("data" in stage)) return false;
		return stage.data.some((source) => {
			const from = "from" in source ? this.#earlier.get(source.from) : undefined;
			return from !== undefined && "config" in from && this.#readsTest(from.config);
		});
	}
}

const stageKind = (stage: StageConfig): string => (stage.type === "dpo" && stage.loss_type === "kto" ? "kto" : stage.type);

function tasksOf(stage: EvaluateConfig): Task[] {
	return stage.tasks.flatMap((name) => {
		try {
			return [taskByName(name)];
		} catch {
			return []; // reported where the name stands
		}
	});
}

function sameTask(task: Task, name: string): boolean {
	try {
		return taskByName(name).name === task.name;
	} catch {
		return false;
	}
}
