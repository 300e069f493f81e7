/**
 * What a report is made of: plain data, filled by whoever ran the stages; this folder only draws it.
 * @module
 */

/**
 * One row of a stage's metrics.jsonl. Further keys (rewards/chosen, rewards/margins, entropy, ...) are kept as they are;
 * the charts draw those they know.
 */
export interface MetricRow {
	/** Optimiser step, counted from 1. */
	step: number;
	/** Fraction of the data seen; 1 is one whole pass. */
	epoch: number;
	/** Mean loss per supervised token of this step (per pair for preference objectives). */
	loss: number;
	/** Global gradient norm before clipping. */
	grad_norm: number;
	learning_rate: number;
	/** All tokens (prompt and completion) through the model per second of this step. */
	tokens_per_second: number;
	/** Validation loss, in the rows of the steps after which it was measured. */
	eval_loss?: number;
	[key: string]: number | undefined;
}

/** What one training stage did. */
export interface TrainingReport {
	stage: string;
	/** sft, dpo or pretrain. */
	type: string;
	rows: MetricRow[];
	/** Wall time of the training loop. */
	seconds: number;
	/** Tokens through the model over all steps. */
	tokens: number;
	trainableParameters: number;
	/** The packing budget, as given or as `auto` chose it. */
	microBatchTokens: number;
}

/** The result of one task in one evaluation. Ratios and scores lie in [0, 1] unless the metric says otherwise. */
export interface TaskReport {
	/** Registry name, the same in every evaluation. */
	task: string;
	/** Name for people. */
	title: string;
	/** Name of the headline metric, e.g. entity_f1. */
	metric: string;
	/** Number of test rows. */
	n: number;
	/** Headline score; null where it is not defined (no usable answer at all). */
	score: number | null;
	/** Ends of the 95 % bootstrap interval of `score`. */
	low?: number;
	high?: number;
	/** The same metric by the other way of scoring: the corrected one, or the leaderboard's. */
	otherScoring?: { name: "leaderboard" | "strict"; score: number | null };
	/** Share of generations that reached max_new_tokens without a stop token, in [0, 1]. */
	overlong: number;
	/** Share of generations from which no answer could be read, in [0, 1]. */
	missing?: number;
	/** What a rule without a model reaches: majority class, train lexicon. */
	floor?: { name: string; score: number | null };
	/** In words: whether the model is significantly better than the best floor, with difference, 95 % interval and p. */
	verdict?: string;
	/** The headline metric is an error. */
	lowIsGood?: true;
	/** Every metric of the task by name. */
	all: Record<string, number | null>;
}

/** One evaluate stage, in the order in which they ran. */
export interface EvaluationReport {
	stage: string;
	/** Split that was evaluated; scores of different splits are never compared. Default: test. */
	split?: string;
	tasks: TaskReport[];
}

/** One generation to show. Samples of the same task and prompt from several stages are shown side by side. */
export interface SampleGeneration {
	task: string;
	stage: string;
	prompt: string;
	expected?: string;
	output: string;
	/** "length": stopped at max_new_tokens, that is overlong. */
	finishReason: "stop" | "length";
}

/** One line of the list of stages. */
export interface StageReport {
	name: string;
	type: string;
	/** done, reused, skipped, failed, ... as the journal has it. */
	status: string;
	seconds: number;
	/** Why it was skipped, which condition held, how many pairs it made. */
	note?: string;
}

/** Everything `report.html` and the final table show about a run. */
export interface RunReport {
	name: string;
	status: string;
	model: string;
	device: string;
	dtype: string;
	stages: StageReport[];
	/** Whether the run became the champion, and why, as a sentence. */
	promotion?: string;
	training: TrainingReport[];
	evaluations: EvaluationReport[];
	samples: SampleGeneration[];
	/** The resolved config, as written to config.resolved.yaml. */
	configYaml: string;
	/** Peak resident (CPU) or device (GPU) memory of the run. */
	memoryPeakBytes?: number;
	/** When the run started and ended, as text for people. Nothing in here is read from the clock. */
	started?: string;
	finished?: string;
	/** Versions by component: fintune, node, instruction set, ... */
	versions: Record<string, string>;
}
